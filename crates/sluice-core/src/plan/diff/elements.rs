//! Steps for the elements of a set with an unchanged declaration.
//!
//! The kernel refuses an interval that overlaps an existing one. Obsolete intervals that overlap new ones are
//! therefore deleted in the commit that adds these, so that a packet finds either the old or the new ones.
//! Other elements are deleted by a later commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Data, Element, Key, Operand, Set, SetFlags, SetName, SetRef, Step};

use super::{absent, change};
use crate::plan::{Change, Why};
use crate::render::owner::Owners;

/// Adds new elements and replaces elements with other data.
pub(super) fn add(
    make: &mut Vec<Change>,
    name: &SetName,
    current: Option<&Set>,
    desired: &Set,
    owners: &Owners,
) {
    let of = SetRef { name: name.clone(), declaration: Arc::new(desired.declaration_only()) };
    let held = |key: &Key| current.and_then(|set| set.elements.get(key));
    let (mut added, mut moved) = (vec![], vec![]);
    let services = owners.places(name);
    for (n, (key, element)) in desired.elements.iter().enumerate() {
        let group = match held(key) {
            Some(held) if held.data == element.data => continue,
            Some(_) => &mut moved,
            None => &mut added,
        };
        group.push((services.get(n).copied().unwrap_or(0), key, &element.data));
    }
    let overlapped = current.map_or_else(BTreeMap::new, |current| overlapped(current, desired));
    push_deletion(make, name, desired, overlapped, Why::Overlaps);
    let moved: Vec<_> = by_service(desired, moved)
        .into_iter()
        .map(|(service, new)| {
            let old: Vec<_> =
                new.iter().filter_map(|(key, _)| Some((*key, held(key)?.data.clone()))).collect();
            (owners.service(service), old, new)
        })
        .collect();
    for (service, old, _) in &moved {
        let why = Why::Differs(Some(old.clone()));
        make.push(change(Step::DeleteElements(of.clone(), old.clone()), service.clone(), why));
    }
    for (service, old, new) in moved {
        make.push(change(Step::AddElements(of.clone(), new), service, Why::Differs(Some(old))));
    }
    for (service, new) in by_service(desired, added) {
        make.push(change(Step::AddElements(of.clone(), new), owners.service(service), Why::Missing));
    }
}

/// Groups elements in key order by the place of their service, and sorts each group by value.
fn by_service(set: &Set, mut elements: Vec<(u32, &Key, &Data)>) -> Vec<(u32, Vec<(Key, Data)>)> {
    elements.sort_by_key(|(service, ..)| *service);
    let groups = elements.chunk_by(|(a, ..), (b, ..)| a == b).map(|group| {
        let elements = group.iter().map(|(_, key, data)| (**key, (*data).clone()));
        (group[0].0, sorted(set, elements.collect()))
    });
    groups.collect()
}

/// Sorts elements in key order by value.
fn sorted(set: &Set, mut elements: Vec<(Key, Data)>) -> Vec<(Key, Data)> {
    if set.key.iter().any(|part| matches!(part, Operand::Slot(_))) {
        elements.sort_by_cached_key(|(key, _)| set.sort_key(key));
    }
    elements
}

/// Deletes obsolete elements that [`add`] has not deleted.
pub(super) fn delete(changes: &mut Vec<Change>, name: &SetName, current: &Set, desired: &Set) {
    let overlapped = overlapped(current, desired);
    let unneeded = absent(&current.elements, &desired.elements);
    let unneeded = unneeded.filter(|(key, _)| !overlapped.contains_key(key));
    let unneeded = unneeded.map(|(key, element)| (*key, element.data.clone())).collect();
    push_deletion(changes, name, current, unneeded, Why::Unneeded);
}

/// Deletes these elements of a set, if there are any.
pub(super) fn push_deletion(
    changes: &mut Vec<Change>,
    name: &SetName,
    set: &Set,
    elements: BTreeMap<Key, Data>,
    why: Why,
) {
    if !elements.is_empty() {
        let elements = sorted(set, elements.into_iter().collect());
        let of = SetRef { name: name.clone(), declaration: Arc::new(set.declaration_only()) };
        changes.push(change(Step::DeleteElements(of, elements), None, why));
    }
}

/// Obsolete intervals that overlap new ones. Elements of an interval set that sluice cannot read may overlap
/// any.
fn overlapped(current: &Set, desired: &Set) -> BTreeMap<Key, Data> {
    if desired.flags != SetFlags::Interval {
        return BTreeMap::new();
    }
    let is_new = |(key, element): &(&Key, &Element)| current.elements.get(key) != Some(element);
    // New intervals do not overlap each other, so their ends have the same order as their beginnings.
    let added: Vec<(Key, Key)> = desired
        .elements
        .iter()
        .filter(is_new)
        .map(|(key, element)| (*key, desired.last_key(key, &element.data)))
        .collect();
    let overlaps = |first: &Key, last: Key| {
        let next = added.partition_point(|(_, end)| end < first);
        added.get(next).is_some_and(|(begin, _)| *begin <= last)
    };
    let unneeded = absent(&current.elements, &desired.elements);
    let in_the_way = unneeded.filter(|(key, element)| {
        !matches!(element.data, Data::KeyEnd(_)) || overlaps(key, current.last_key(key, &element.data))
    });
    in_the_way.map(|(key, element)| (*key, element.data.clone())).collect()
}
