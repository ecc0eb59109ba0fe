//! Differences between what two sets of one declaration hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Data, Element, ElementsOf, Key, Set, SetName, Step};

use super::{absent, change};
use crate::model::ServiceName;
use crate::origin::Origins;
use crate::plan::{Change, Why};

/// Elements to add and to point elsewhere.
pub(super) fn add(
    make: &mut Vec<Change>,
    name: &SetName,
    current: Option<&Set>,
    desired: &Set,
    origins: &Origins,
) {
    let of = ElementsOf { name: name.clone(), declaration: Arc::new(desired.declaration_only()) };
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

/// Elements that are not desired.
pub(super) fn delete(changes: &mut Vec<Change>, name: &SetName, current: &Set, desired: &Set) {
    let mut unneeded: Vec<_> = absent(&current.elements, &desired.elements)
        .map(|(key, element)| (*key, element.data.clone()))
        .collect();
    if !unneeded.is_empty() {
        unneeded.sort_by_key(|(key, _)| current.sort_key(key));
        let of = ElementsOf { name: name.clone(), declaration: Arc::new(current.declaration_only()) };
        changes.push(change(Step::DeleteElements(of, unneeded), None, Why::Unneeded));
    }
}
