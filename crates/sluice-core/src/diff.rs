//! Current and desired to a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Chain, Data, Element, ElementsOf, Key, Set, SetName, SetType, Step, Table};

use crate::model::ServiceName;
use crate::origin::Origins;
use crate::plan::{Batch, Change, Plan, Purpose, Reason, Why};

/// The plan that makes `current` equal to `desired`; empty when they are equal.
///
/// `origins` names the services behind the desired elements.
pub fn diff(current: Option<&Table>, desired: Option<&Table>, origins: &Origins) -> Plan {
    let Some(desired) = desired else {
        let gone = current.map(|_| change(Step::DeleteTable, None, Why::Unneeded));
        return plan(vec![], gone.into_iter().collect(), vec![]);
    };
    let nothing = Table::default();
    let (mut add, mut switch, mut retire) = (vec![], vec![], vec![]);
    let current = match current {
        None => {
            add.push(change(Step::AddTable, None, Why::Missing));
            &nothing
        }
        Some(current) => match incompatible(current, desired) {
            None => current,
            // A declaration cannot be changed in place: one commit replaces the table.
            Some(what) => {
                let why = Why::Incompatible(what);
                add.push(change(Step::DeleteTable, None, why.clone()));
                add.push(change(Step::AddTable, None, why));
                &nothing
            }
        },
    };
    make(&mut add, current, desired, origins);
    lead(&mut switch, current, desired, origins);
    remove(&mut retire, current, desired);
    if moves_to_new_chain(current, desired) {
        return plan(add, switch, retire);
    }
    add.append(&mut switch);
    plan(vec![], add, retire)
}

fn plan(prepare: Vec<Change>, switch: Vec<Change>, retire: Vec<Change>) -> Plan {
    let batches = [(Purpose::Prepare, prepare), (Purpose::Switch, switch), (Purpose::Retire, retire)];
    let batches = batches.into_iter().filter(|(_, changes)| !changes.is_empty());
    Plan { batches: batches.map(|(purpose, changes)| Batch { purpose, changes }).collect() }
}

/// Whether an element that leads to a chain now shall lead to one that is not there yet.
fn moves_to_new_chain(current: &Table, desired: &Table) -> bool {
    verdicts(desired).any(|(name, set)| {
        let held = current.sets.get(name).map(|set| &set.elements);
        set.elements.iter().any(|(key, element)| match &element.data {
            Data::Goto(chain) => {
                !current.chains.contains_key(chain) && held.is_some_and(|held| held.contains_key(key))
            }
            Data::Value(_) | Data::None => false,
        })
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

/// Adds what is new. The order is the kernel's: what is referred to comes first, and rules bind to
/// maps while these are empty, since binding walks the elements.
fn make(make: &mut Vec<Change>, current: &Table, desired: &Table, origins: &Origins) {
    for (name, set) in absent(&desired.sets, &current.sets) {
        let empty = Set { elements: BTreeMap::new(), ..declaration_of(set) };
        make.push(change(Step::AddSet(name.clone(), empty), None, Why::Missing));
    }
    for (name, chain) in absent(&desired.chains, &current.chains) {
        make.push(change(Step::AddChain(name.clone(), chain.base), None, Why::Missing));
    }
    for (name, Chain { rules, .. }) in &desired.chains {
        let existing = current.chains.get(name).map(|chain| &chain.rules);
        if existing.is_some_and(|existing| existing == rules) {
            continue;
        }
        let why = match existing {
            Some(existing) if !existing.is_empty() => {
                make.push(change(Step::FlushChain(name.clone()), None, Why::Differs(None)));
                Why::Differs(None)
            }
            _ => Why::Missing,
        };
        for rule in rules {
            make.push(change(Step::AddRule(name.clone(), rule.clone()), None, why.clone()));
        }
    }
    for (name, set) in desired.sets.iter().filter(|(_, set)| set.data != SetType::Verdicts) {
        elements(make, name, current.sets.get(name), set, origins);
    }
}

/// Makes verdict maps lead where they should; taking a listener away is a switch too.
fn lead(lead: &mut Vec<Change>, current: &Table, desired: &Table, origins: &Origins) {
    for (name, set) in verdicts(desired) {
        let held = current.sets.get(name);
        if let Some(held) = held {
            delete_unneeded(lead, name, held, set);
        }
        elements(lead, name, held, set, origins);
    }
}

/// Elements to add and to point elsewhere.
fn elements(make: &mut Vec<Change>, name: &SetName, current: Option<&Set>, desired: &Set, origins: &Origins) {
    let of = ElementsOf { name: name.clone(), declaration: Arc::new(declaration_of(desired)) };
    let held = |key: &Key| current.and_then(|set| set.elements.get(key));
    let mut added = Groups::new();
    let mut moved = Groups::new();
    for (key, element) in &desired.elements {
        let group = match held(key) {
            Some(held) if held.data == element.data => continue,
            Some(_) => &mut moved,
            None => &mut added,
        };
        group.entry(service(element, origins)).or_default().push((*key, element.data.clone()));
    }
    for (service, mut new) in moved {
        new.sort_by_key(|(key, _)| desired.sort_key(key));
        let old: Vec<_> = new.iter().filter_map(|(key, _)| Some((*key, held(key)?.data.clone()))).collect();
        let why = Why::Differs(Some(old.clone()));
        make.push(change(Step::DeleteElements(of.clone(), old), service.clone(), why.clone()));
        make.push(change(Step::AddElements(of.clone(), new), service, why));
    }
    for (service, mut new) in added {
        new.sort_by_key(|(key, _)| desired.sort_key(key));
        make.push(change(Step::AddElements(of.clone(), new), service, Why::Missing));
    }
}

/// Elements of one set by the service they are for.
type Groups = BTreeMap<Option<ServiceName>, Vec<(Key, Data)>>;

fn service(element: &Element, origins: &Origins) -> Option<ServiceName> {
    origins.get(element.origin).map(|flow| flow.service.clone())
}

/// Removes what nothing leads to any more: slots first, then rules, chains and sets, each when
/// nothing refers to it.
fn remove(retire: &mut Vec<Change>, current: &Table, desired: &Table) {
    for (name, set) in &current.sets {
        if let Some(wanted) = desired.sets.get(name).filter(|set| set.data != SetType::Verdicts) {
            delete_unneeded(retire, name, set, wanted);
        }
    }
    let chains = || absent(&current.chains, &desired.chains);
    // Verdict maps that go refer to chains that go, and rules that go to both.
    for (name, chain) in chains() {
        if !chain.rules.is_empty() {
            retire.push(change(Step::FlushChain(name.clone()), None, Why::Unneeded));
        }
    }
    for (name, _) in absent(&current.sets, &desired.sets) {
        retire.push(change(Step::DeleteSet(name.clone()), None, Why::Unneeded));
    }
    for (name, _) in chains() {
        retire.push(change(Step::DeleteChain(name.clone()), None, Why::Unneeded));
    }
}

fn delete_unneeded(changes: &mut Vec<Change>, name: &SetName, current: &Set, desired: &Set) {
    let mut unneeded: Vec<_> = absent(&current.elements, &desired.elements)
        .map(|(key, element)| (*key, element.data.clone()))
        .collect();
    if !unneeded.is_empty() {
        unneeded.sort_by_key(|(key, _)| current.sort_key(key));
        let of = ElementsOf { name: name.clone(), declaration: Arc::new(declaration_of(current)) };
        changes.push(change(Step::DeleteElements(of, unneeded), None, Why::Unneeded));
    }
}

fn absent<'a, K: Ord, V>(
    these: &'a BTreeMap<K, V>,
    those: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    these.iter().filter(|(key, _)| !those.contains_key(key))
}

fn declaration_of(set: &Set) -> Set {
    Set { key: set.key.clone(), data: set.data.clone(), counter: set.counter, elements: BTreeMap::new() }
}

fn change(step: Step, service: Option<ServiceName>, why: Why) -> Change {
    Change { step, reason: Reason { service, why } }
}
