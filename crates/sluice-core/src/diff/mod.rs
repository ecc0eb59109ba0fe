//! Current and desired to a plan, make before break; docs/adr/0004-make-before-break.md says why so.

mod chains;
mod elements;

use std::collections::{BTreeMap, BTreeSet};

use chains::{Course, Role};
pub(crate) use elements::declaration_of;
use sluice_nft::{Data, Set, SetName, SetType, Step, Table};

use crate::model::ServiceName;
use crate::origin::Origins;
use crate::plan::{Batch, Change, Plan, Purpose, Reason, Why};

/// The plan that makes `current` equal to `desired`; empty when they are equal.
///
/// `origins` names the services behind the desired elements.
pub fn diff(current: Option<&Table>, desired: Option<&Table>, origins: &Origins) -> Plan {
    let Some(desired) = desired else {
        let gone = current.map(|_| change(Step::DeleteTable, None, Why::Unneeded));
        return plan([vec![], gone.into_iter().collect(), vec![]]);
    };
    let nothing = Table::default();
    let mut first = vec![];
    let current = match current {
        None => {
            first.push(change(Step::AddTable, None, Why::Missing));
            &nothing
        }
        Some(current) => match incompatible(current, desired) {
            None => current,
            // A declaration cannot be changed in place: one commit replaces the table.
            Some(what) => {
                let why = Why::Incompatible(what);
                first.push(change(Step::DeleteTable, None, why.clone()));
                first.push(change(Step::AddTable, None, why));
                &nothing
            }
        },
    };
    make_before_break(first, current, desired, origins)
}

/// In the kernel's order: what is referred to comes first, and rules bind to maps while these are
/// empty, since binding walks the elements. Verdict maps come last, because they lead to it all.
fn make_before_break(mut first: Vec<Change>, current: &Table, desired: &Table, origins: &Origins) -> Plan {
    let courses = courses(current, desired);
    let is_prepared = needs_preparation(current, desired, &courses);
    add_sets_and_chains(&mut first, current, desired);
    let mut switch = vec![];
    if is_prepared {
        courses.iter().for_each(|course| course.prepare(&mut first));
        courses.iter().for_each(|course| course.switch(&mut switch, true));
    } else {
        courses.iter().for_each(|course| course.switch(&mut first, false));
    }
    for (name, set) in desired.sets.iter().filter(|(_, set)| set.data != SetType::Verdicts) {
        elements::add(&mut first, name, current.sets.get(name), set, origins);
    }
    for (name, set) in verdicts(desired) {
        let held = current.sets.get(name);
        if let Some(held) = held {
            elements::delete(&mut switch, name, held, set);
        }
        elements::add(&mut switch, name, held, set, origins);
    }
    let mut retire = vec![];
    remove(&mut retire, current, desired, &courses);
    if is_prepared {
        return plan([first, switch, retire]);
    }
    first.append(&mut switch);
    plan([vec![], first, retire])
}

fn plan(batches: [Vec<Change>; 3]) -> Plan {
    let batches = [Purpose::Prepare, Purpose::Switch, Purpose::Retire].into_iter().zip(batches);
    let batches = batches.filter(|(_, changes)| !changes.is_empty());
    Plan { batches: batches.map(|(purpose, changes)| Batch { purpose, changes }).collect() }
}

fn courses<'a>(current: &'a Table, desired: &'a Table) -> Vec<Course<'a>> {
    let sources = chains::sources(current, desired);
    let names: BTreeSet<_> = current.chains.keys().chain(desired.chains.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (now, end) = (current.chains.get(name), desired.chains.get(name));
            let base = end.or(now)?.base;
            let role = match base {
                _ if sources.contains(name) => Role::Source,
                Some(_) => Role::Dispatch,
                None => Role::Pick,
            };
            (now != end).then(|| Course::new(name, role, now, end))
        })
        .collect()
}

/// Whether adding and switching take two commits. A packet keeps to the rules of the generation it
/// began with, while its lookups see the newest: so an existing element must not lead to a chain
/// that is added in the same commit, nor vanish in favour of a rule that is.
fn needs_preparation(current: &Table, desired: &Table, courses: &[Course<'_>]) -> bool {
    verdicts(desired).any(|(name, set)| {
        let held = current.sets.get(name).map(|set| &set.elements);
        let leads_to_new = set.elements.iter().any(|(key, element)| match &element.data {
            Data::Goto(chain) => {
                !current.chains.contains_key(chain) && held.is_some_and(|held| held.contains_key(key))
            }
            Data::Value(_) | Data::None => false,
        });
        leads_to_new
            || courses.iter().any(Course::is_dispatch)
                && held.is_some_and(|held| absent(held, &set.elements).next().is_some())
    })
}

fn verdicts(table: &Table) -> impl Iterator<Item = (&SetName, &Set)> {
    table.sets.iter().filter(|(_, set)| set.data == SetType::Verdicts)
}

/// The first object that is in both and can't be made equal without deleting it.
fn incompatible(current: &Table, desired: &Table) -> Option<String> {
    let set = desired
        .sets
        .iter()
        .find(|(name, set)| current.sets.get(*name).is_some_and(|existing| !existing.same_declaration(set)));
    let chain = desired
        .chains
        .iter()
        .find(|(name, chain)| current.chains.get(*name).is_some_and(|existing| existing.base != chain.base));
    set.map(|(name, set)| format!("{} {name} is declared otherwise", set.keyword()))
        .or_else(|| chain.map(|(name, _)| format!("chain {name} is declared otherwise")))
}

fn add_sets_and_chains(changes: &mut Vec<Change>, current: &Table, desired: &Table) {
    for (name, set) in absent(&desired.sets, &current.sets) {
        changes.push(change(Step::AddSet(name.clone(), declaration_of(set)), None, Why::Missing));
    }
    for (name, chain) in absent(&desired.chains, &current.chains) {
        changes.push(change(Step::AddChain(name.clone(), chain.base), None, Why::Missing));
    }
}

/// Removes what nothing leads to any more: slots first, then rules, sets and chains, each when
/// nothing refers to it.
fn remove(retire: &mut Vec<Change>, current: &Table, desired: &Table, courses: &[Course<'_>]) {
    for (name, set) in &current.sets {
        if let Some(wanted) = desired.sets.get(name).filter(|set| set.data != SetType::Verdicts) {
            elements::delete(retire, name, set, wanted);
        }
    }
    courses.iter().for_each(|course| course.retire(retire));
    // Verdict maps that go refer to chains that go.
    for (name, _) in absent(&current.sets, &desired.sets) {
        retire.push(change(Step::DeleteSet(name.clone()), None, Why::Unneeded));
    }
    for (name, _) in absent(&current.chains, &desired.chains) {
        retire.push(change(Step::DeleteChain(name.clone()), None, Why::Unneeded));
    }
}

fn absent<'a, K: Ord, V>(
    these: &'a BTreeMap<K, V>,
    those: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    these.iter().filter(|(key, _)| !those.contains_key(key))
}

fn change(step: Step, service: Option<ServiceName>, why: Why) -> Change {
    Change { step, reason: Reason { service, why } }
}
