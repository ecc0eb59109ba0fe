//! Compares the current with the desired table and plans make before break; see
//! docs/adr/0004-make-before-break.md.

mod chains;
mod elements;
mod foreign;
mod redeclared;

use std::collections::{BTreeMap, BTreeSet};

use chains::{ChainTransition, Role};
use sluice_nft::{Chain, Data, Element, Hook, Set, SetName, SetType, Step, Table};

use crate::model::ServiceName;
use crate::plan::{Batch, Change, Plan, Purpose, Reason, Why};
use crate::render::SetId;
use crate::render::owner::Owners;

/// The plan that makes `current` equal to `desired`; empty when they are equal.
///
/// `owners` names the services of the desired elements.
pub fn diff(current: Option<&Table>, desired: Option<&Table>, owners: &Owners) -> Plan {
    let nothing = Table::default();
    match (current, desired) {
        (None, None) => Plan::default(),
        (Some(_), None) => plan([vec![], vec![change(Step::DeleteTable, None, Why::Unneeded)], vec![]]),
        (None, Some(desired)) => {
            let first = vec![change(Step::AddTable, None, Why::Missing)];
            make_before_break(first, &nothing, desired, owners)
        }
        // No packet traverses a dormant table. Only a program that knows all flags of the table can make it
        // active again.
        (Some(current), Some(desired)) if current.dormant => {
            let why = Why::Incompatible("the table is dormant".to_owned());
            let first = [Step::DeleteTable, Step::AddTable].map(|step| change(step, None, why.clone()));
            make_before_break(first.into(), &nothing, desired, owners)
        }
        (Some(current), Some(desired)) => match redeclared::clear(current, desired) {
            Some((first, rest)) => make_before_break(first, &rest, desired, owners),
            None => make_before_break(vec![], current, desired, owners),
        },
    }
}

/// Orders the steps as the kernel requires: objects come before references to them. Rules are bound to maps
/// while these are empty, because the kernel walks the elements for each rule. Verdict maps come last,
/// because they refer to all the rest.
///
/// After the changes in `first`, packets find no rules to continue with, so everything else is in the same
/// batch.
fn make_before_break(mut first: Vec<Change>, current: &Table, desired: &Table, owners: &Owners) -> Plan {
    let transitions = transitions(current, desired);
    let is_prepared = first.is_empty() && needs_preparation(current, desired, &transitions);
    add_sets_and_chains(&mut first, current, desired);
    let mut switch = vec![];
    if is_prepared {
        transitions.iter().for_each(|chain| chain.step(&mut first, chain.now, &chain.prepared));
        transitions.iter().for_each(|chain| chain.step(&mut switch, &chain.prepared, &chain.switched));
    } else {
        transitions.iter().for_each(|chain| chain.step(&mut first, chain.now, &chain.switched));
    }
    for (name, set) in desired.sets.iter().filter(|(_, set)| set.data != SetType::Verdicts) {
        elements::add(&mut first, name, current.sets.get(name), set, owners);
    }
    for (name, set) in verdicts(desired) {
        match current.sets.get(name) {
            // No rule of a packet in transit looks up a new map.
            None => elements::add(&mut first, name, None, set, owners),
            held @ Some(before) => {
                if !is_behind(name) {
                    elements::delete(&mut switch, name, before, set);
                }
                elements::add(&mut switch, name, held, set, owners);
            }
        }
    }
    let mut retire = vec![];
    remove(&mut retire, current, desired, &transitions);
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

fn transitions<'a>(current: &'a Table, desired: &'a Table) -> Vec<ChainTransition<'a>> {
    let names: BTreeSet<_> = current.chains.keys().chain(desired.chains.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (now, end) = (current.chains.get(name), desired.chains.get(name));
            let role = Role::of(name, end.or(now)?.base);
            (now != end).then(|| ChainTransition::new(name, role, now, end))
        })
        .collect()
}

/// Whether adding and switching need two commits. A packet keeps the rules of the generation in which it
/// began, while its lookups find the newest elements. So an existing element must not lead to a chain that is
/// added in the same commit, and must not be deleted in favour of a rule that is. If one base chain replaces
/// another, a packet might traverse neither of them.
fn needs_preparation(current: &Table, desired: &Table, transitions: &[ChainTransition<'_>]) -> bool {
    let base_chain_moves = absent(&desired.chains, &current.chains).any(|(_, new)| {
        let replaces = |old: &Chain| matches!((old.base, new.base), (Some(old), Some(new)) if old.hook == new.hook || old.hook == Hook::Foreign);
        absent(&current.chains, &desired.chains).any(|(_, old)| replaces(old))
    });
    base_chain_moves
        || transitions.iter().any(ChainTransition::adds_bypass_rules)
        || verdicts(desired).any(|(name, set)| {
            let held = current.sets.get(name).map(|set| &set.elements);
            let leads_to_new = set.elements.iter().any(|(key, element)| match &element.data {
                Data::Goto(chain) => {
                    let moves = |held: &Element| held.data != element.data;
                    !current.chains.contains_key(chain)
                        && held.and_then(|held| held.get(key)).is_some_and(moves)
                }
                Data::Value(_) | Data::KeyEnd(_) | Data::None => false,
            });
            leads_to_new
                || transitions.iter().any(ChainTransition::is_dispatch)
                    && held.is_some_and(|held| absent(held, &set.elements).next().is_some())
        })
}

fn is_behind(map: &SetName) -> bool {
    SetId::parse(map).is_some_and(|id| id.is_behind_a_map())
}

fn verdicts(table: &Table) -> impl Iterator<Item = (&SetName, &Set)> {
    table.sets.iter().filter(|(_, set)| set.data == SetType::Verdicts)
}

fn add_sets_and_chains(changes: &mut Vec<Change>, current: &Table, desired: &Table) {
    for (name, set) in absent(&desired.sets, &current.sets) {
        changes.push(change(Step::AddSet(name.clone(), set.declaration_only()), None, Why::Missing));
    }
    for (name, chain) in absent(&desired.chains, &current.chains) {
        changes.push(change(Step::AddChain(name.clone(), chain.base), None, Why::Missing));
    }
}

/// Removes obsolete objects: elements first, then rules, sets and chains, each after the last reference to
/// it.
fn remove(retire: &mut Vec<Change>, current: &Table, desired: &Table, transitions: &[ChainTransition<'_>]) {
    for (name, set) in &current.sets {
        let is_switched = set.data == SetType::Verdicts && !is_behind(name);
        if let Some(set_after) = desired.sets.get(name).filter(|_| !is_switched) {
            elements::delete(retire, name, set, set_after);
        }
    }
    transitions.iter().for_each(|chain| chain.step(retire, &chain.switched, chain.end));
    // Obsolete verdict maps refer to obsolete chains.
    for (name, set) in absent(&current.sets, &desired.sets) {
        let why = unneeded(foreign::set(name, set));
        retire.push(change(Step::DeleteSet(name.clone()), None, why));
    }
    for (name, chain) in absent(&current.chains, &desired.chains) {
        let why = unneeded(foreign::chain(name, chain));
        retire.push(change(Step::DeleteChain(name.clone()), None, why));
    }
    // Only foreign rules and sets refer to stateful objects, and these are deleted before.
    for object in &current.objects {
        let why = Why::Unreadable(object.to_string());
        retire.push(change(Step::DeleteObject(object.clone()), None, why));
    }
}

fn unneeded(unreadable: Option<String>) -> Why {
    unreadable.map_or(Why::Unneeded, Why::Unreadable)
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
