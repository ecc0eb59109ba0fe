//! Redeclared objects: sets and base chains that have one of our names, but another declaration.
//!
//! Another program declared them, because different declarations of sluice have different names. A
//! declaration cannot be changed, so these objects are deleted and added again in one commit, together with
//! the rules that use them. A packet in transit at that moment may miss them.

use std::collections::BTreeMap;

use sluice_nft::{Chain, ChainName, Data, Rule, Set, SetName, Statement, Step, Table};

use super::{change, elements, foreign};
use crate::plan::{Change, Why};

/// The redeclared objects, with the reasons for deleting them.
struct Redeclared<'a> {
    sets: BTreeMap<&'a SetName, String>,
    chains: BTreeMap<&'a ChainName, String>,
}

/// The steps that delete redeclared objects with all references to them, and the rest of the table; `None` if
/// there are none.
pub(super) fn clear(current: &Table, desired: &Table) -> Option<(Vec<Change>, Table)> {
    let redeclared = Redeclared::of(current, desired)?;
    let (mut changes, mut rest) = (vec![], current.clone());
    for (name, chain) in &mut rest.chains {
        if redeclared.is_flushed(name, chain) {
            let why = foreign::rules(&chain.rules).map_or(Why::Differs(None), Why::Unreadable);
            changes.push(change(Step::FlushChain(name.clone()), None, why));
            chain.rules.clear();
        }
    }
    for (name, set) in rest.sets.iter_mut().filter(|(name, _)| !redeclared.sets.contains_key(name)) {
        let leads = |data: &Data| matches!(data, Data::Goto(chain) if redeclared.chains.contains_key(chain));
        let gone = set.elements.extract_if(.., |_, element| leads(&element.data));
        let gone = gone.map(|(key, element)| (key, element.data)).collect();
        elements::push_deletion(&mut changes, name, set, gone, Why::Differs(None));
    }
    for (name, reason) in redeclared.sets {
        rest.sets.remove(name);
        changes.push(change(Step::DeleteSet(name.clone()), None, Why::Incompatible(reason)));
    }
    for (name, reason) in redeclared.chains {
        rest.chains.remove(name);
        changes.push(change(Step::DeleteChain(name.clone()), None, Why::Incompatible(reason)));
    }
    Some((changes, rest))
}

impl<'a> Redeclared<'a> {
    fn of(current: &'a Table, desired: &Table) -> Option<Self> {
        let chains: BTreeMap<_, _> = current
            .chains
            .iter()
            .filter(|(name, chain)| desired.chains.get(*name).is_some_and(|after| after.base != chain.base))
            .map(|(name, chain)| (name, reason(foreign::chain(name, chain), &format!("chain {name}"))))
            .collect();
        let differs = |name, set: &Set| {
            let after = desired.sets.get(name);
            // Elements of a set that sluice cannot read may refer to the chains.
            let may_lead = !chains.is_empty() && foreign::set(name, set).is_some();
            may_lead || after.is_some_and(|after| !after.same_declaration(set))
        };
        let sets = current.sets.iter().filter(|(name, set)| differs(name, set));
        let sets: BTreeMap<_, _> = sets
            .map(|(name, set)| (name, reason(foreign::set(name, set), &format!("{} {name}", set.keyword()))))
            .collect();
        (!sets.is_empty() || !chains.is_empty()).then_some(Redeclared { sets, chains })
    }

    /// Whether the rules of a chain must be deleted: the chain is redeclared, or a rule refers, or may refer,
    /// to a redeclared object.
    fn is_flushed(&self, name: &ChainName, chain: &Chain) -> bool {
        let refers = |statement: &Statement| match statement {
            Statement::Goto(chain) | Statement::Jump(chain) => self.chains.contains_key(chain),
            other => other.set().is_some_and(|set| self.sets.contains_key(set)),
        };
        let goes = |rule: &Rule| foreign::rules([rule]).is_some() || rule.0.iter().any(refers);
        chain.rules.iter().any(|rule| self.chains.contains_key(name) || goes(rule))
    }
}

/// Why an object must be deleted.
fn reason(unreadable: Option<String>, object: &str) -> String {
    match unreadable {
        Some(what) => format!("sluice cannot read {what}"),
        None => format!("{object} has another declaration"),
    }
}
