//! Sets and chains that are there under a name of ours and declared otherwise.
//!
//! They can't be changed in place, and to delete one and add another in the same commit loses packets: who
//! began with the old rules looks into a set that is no more. So they make way, all at once, for stand-ins of
//! other names, which give back the names when nothing leads to the old ones any more.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Chain, ChainName, Data, Set, SetName, Statement, Step, Table};

use super::{change, foreign};
use crate::plan::{Batch, Change, Plan, Why};

/// Names whose declarations differ, and those of the stand-ins.
pub(super) struct Clash {
    sets: BTreeMap<SetName, SetName>,
    chains: BTreeMap<ChainName, ChainName>,
}

impl Clash {
    /// `None` if there is nothing of the kind.
    pub(super) fn of(current: &Table, desired: &Table) -> Option<Self> {
        let sets = current.sets.iter().filter(|(name, held)| differ(desired.sets.get(*name), held));
        let chains =
            current.chains.iter().filter(|(name, held)| differ_in_base(desired.chains.get(*name), held));
        let tables = [current, desired];
        let clash = Clash {
            sets: sets
                .map(|(name, _)| (name.clone(), stand_in(name.as_str(), tables, |t| &t.sets)))
                .collect(),
            chains: chains
                .map(|(name, _)| (name.clone(), stand_in(name.as_str(), tables, |t| &t.chains)))
                .collect(),
        };
        (!clash.is_empty()).then_some(clash)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty()
    }

    /// Takes what no packet can meet out of `current` and of the clash; returns the steps that do.
    pub(super) fn remove_idle(&mut self, current: &mut Table) -> Vec<Change> {
        let mut changes = vec![];
        // What others wrote may lead anywhere.
        if foreign::rules(current.chains.values().flat_map(|chain| &chain.rules)).is_some() {
            return changes;
        }
        let used = used_sets(current);
        for name in self.sets.extract_if(.., |name, _| !used.contains(name)).map(|(name, _)| name) {
            if let Some(set) = current.sets.remove(&name) {
                let why = Why::Incompatible(set_reason(&name, &set));
                changes.push(change(Step::DeleteSet(name), None, why));
            }
        }
        if current.sets.iter().any(|(name, set)| foreign::set(name, set).is_some()) {
            return changes;
        }
        let led_to = led_to(current);
        let idle = |name: &ChainName, chain: Option<&Chain>| {
            !led_to.contains(name) && chain.is_some_and(|chain| chain.rules.is_empty())
        };
        let chains: Vec<_> =
            self.chains.extract_if(.., |name, _| idle(name, current.chains.get(name))).collect();
        for (name, _) in chains {
            if let Some(chain) = current.chains.remove(&name) {
                let why = Why::Incompatible(chain_reason(&name, &chain));
                changes.push(change(Step::DeleteChain(name), None, why));
            }
        }
        changes
    }

    /// The same ruleset, by the names of the stand-ins.
    pub(super) fn rename(&self, desired: &Table) -> Table {
        let mut table = desired.clone();
        for (name, stand_in) in &self.sets {
            if let Some(set) = table.sets.remove(name) {
                table.sets.insert(stand_in.clone(), set);
            }
        }
        for (name, stand_in) in &self.chains {
            if let Some(chain) = table.chains.remove(name) {
                table.chains.insert(stand_in.clone(), chain);
            }
        }
        for statement in table.chains.values_mut().flat_map(|c| &mut c.rules).flat_map(|rule| &mut rule.0) {
            match statement {
                Statement::Goto(chain) | Statement::Jump(chain) => rename(chain, &self.chains),
                other => other.set_mut().into_iter().for_each(|set| rename(set, &self.sets)),
            }
        }
        if !self.chains.is_empty() {
            for element in table.sets.values_mut().flat_map(|set| set.elements.values_mut()) {
                if let Data::Goto(chain) = &mut element.data {
                    rename(chain, &self.chains);
                }
            }
        }
        table
    }

    /// One plan: to the stand-ins, and back. What the first no longer needs goes together with what the
    /// second begins with.
    pub(super) fn join(&self, there: Plan, back: Plan, current: &Table) -> Plan {
        let mut batches = there.batches;
        let mut back = back.batches.into_iter();
        for change in batches.iter_mut().flat_map(|batch| &mut batch.changes) {
            self.explain(change, current);
        }
        if let (Some(Batch { changes: retired, .. }), Some(first)) = (batches.pop(), back.next()) {
            batches.push(Batch { changes: retired.into_iter().chain(first.changes).collect(), ..first });
        }
        batches.extend(back);
        Plan { batches }
    }

    fn explain(&self, change: &mut Change, current: &Table) {
        let reason = match &change.step {
            Step::AddSet(name, _) => {
                let original = self.sets.iter().find(|(_, stand_in)| *stand_in == name);
                original.and_then(|(name, _)| Some(set_reason(name, current.sets.get(name)?)))
            }
            Step::AddChain(name, _) => {
                let original = self.chains.iter().find(|(_, stand_in)| *stand_in == name);
                original.and_then(|(name, _)| Some(chain_reason(name, current.chains.get(name)?)))
            }
            Step::DeleteSet(name) if self.sets.contains_key(name) => {
                current.sets.get(name).map(|set| set_reason(name, set))
            }
            Step::DeleteChain(name) if self.chains.contains_key(name) => {
                current.chains.get(name).map(|chain| chain_reason(name, chain))
            }
            _ => None,
        };
        if let Some(reason) = reason {
            change.reason.why = Why::Incompatible(reason);
        }
    }
}

fn differ(wanted: Option<&Set>, held: &Set) -> bool {
    wanted.is_some_and(|wanted| !wanted.same_declaration(held))
}

fn differ_in_base(wanted: Option<&Chain>, held: &Chain) -> bool {
    wanted.is_some_and(|wanted| wanted.base != held.base)
}

fn set_reason(name: &SetName, set: &Set) -> String {
    match foreign::set(name, set) {
        Some(what) => format!("sluice cannot read {what}"),
        None => format!("{} {name} is declared otherwise", set.keyword()),
    }
}

fn chain_reason(name: &ChainName, chain: &Chain) -> String {
    match foreign::chain(name, chain) {
        Some(what) => format!("sluice cannot read {what}"),
        None => format!("chain {name} is declared otherwise"),
    }
}

/// A name that is in neither table: `services4/1`.
fn stand_in<N: Ord + From<String>, T>(
    name: &str,
    tables: [&Table; 2],
    of: impl Fn(&Table) -> &BTreeMap<N, T>,
) -> N {
    let mut names = (1..).map(|n: u32| N::from(format!("{name}/{n}")));
    names.find(|name| tables.iter().all(|table| !of(table).contains_key(name))).expect("numbers don't end")
}

fn rename<N: Ord + Clone>(name: &mut N, stand_ins: &BTreeMap<N, N>) {
    if let Some(stand_in) = stand_ins.get(name) {
        *name = stand_in.clone();
    }
}

fn used_sets(table: &Table) -> BTreeSet<SetName> {
    let rules = table.chains.values().flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.0).filter_map(Statement::set).cloned().collect()
}

fn led_to(table: &Table) -> BTreeSet<ChainName> {
    let statements = table.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.0);
    let by_rules = statements.filter_map(|statement| match statement {
        Statement::Goto(chain) | Statement::Jump(chain) => Some(chain),
        _ => None,
    });
    let by_elements =
        table.sets.values().flat_map(|set| set.elements.values()).filter_map(|element| match &element.data {
            Data::Goto(chain) => Some(chain),
            Data::Value(_) | Data::Through(_) | Data::None => None,
        });
    by_rules.chain(by_elements).cloned().collect()
}
