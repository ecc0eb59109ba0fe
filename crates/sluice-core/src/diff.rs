//! Current and desired to a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Chain, Data, Element, ElementsOf, Key, Set, SetName, SetType, Step, Table};

use crate::model::ServiceName;
use crate::origin::Origins;
use crate::plan::{Change, Plan, Reason, Why};

/// The plan that makes `current` equal to `desired`; empty when they are equal.
///
/// `origins` names the services behind the desired elements.
pub fn diff(current: Option<&Table>, desired: Option<&Table>, origins: &Origins) -> Plan {
    let (current, desired) = match (current, desired) {
        (None, None) => return Plan::default(),
        (Some(_), None) => {
            return Plan { make: vec![change(Step::DeleteTable, None, Why::Unneeded)], retire: vec![] };
        }
        (current, Some(desired)) => (current, desired),
    };
    let nothing = Table::default();
    let mut plan = Plan::default();
    let current = match current {
        None => {
            plan.make.push(change(Step::AddTable, None, Why::Missing));
            &nothing
        }
        Some(current) => match incompatible(current, desired) {
            None => current,
            // A declaration cannot be changed in place: one commit replaces the table.
            Some(what) => {
                let why = Why::Incompatible(what);
                plan.make.push(change(Step::DeleteTable, None, why.clone()));
                plan.make.push(change(Step::AddTable, None, why));
                &nothing
            }
        },
    };
    make(&mut plan.make, current, desired, origins);
    retire(&mut plan.retire, current, desired);
    plan
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

/// Adds what is new and switches to it. The order is the kernel's: what is referred to comes first,
/// and rules bind to maps while these are empty, since binding walks the elements. Elements that
/// lead somewhere come last.
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
    let (verdicts, data): (Vec<_>, Vec<_>) =
        desired.sets.iter().partition(|(_, set)| set.data == SetType::Verdicts);
    for (name, set) in data.into_iter().chain(verdicts) {
        elements(make, name, current.sets.get(name), set, origins);
    }
}

/// Elements to add and to point elsewhere; for verdict maps also those to delete, because taking a
/// listener away is a switch too.
fn elements(make: &mut Vec<Change>, name: &SetName, current: Option<&Set>, desired: &Set, origins: &Origins) {
    let of = ElementsOf { name: name.clone(), declaration: Arc::new(declaration_of(desired)) };
    let held = |key: &Key| current.and_then(|set| set.elements.get(key));
    if let Some(current) = current.filter(|set| set.data == SetType::Verdicts) {
        delete_unneeded(make, name, current, desired);
    }

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
fn retire(retire: &mut Vec<Change>, current: &Table, desired: &Table) {
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
