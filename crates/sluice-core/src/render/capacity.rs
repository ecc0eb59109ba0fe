//! Sizes of sets. A set declared with a size is a hash table of fixed size in the kernel: faster to
//! fill and to read than one that grows by itself. When it is full, a larger one of
//! another name takes its place: the rules that use it are exchanged in one commit.

use std::collections::BTreeMap;

use sluice_nft::{Filling, Rule, Set, SetName, Table};

use super::layout::Layout;

/// Size of a set that holds few elements, and what each next size is larger by.
const SMALLEST: u32 = 1024;
const STEP: u32 = 4;

/// A set that is this many times too large is exchanged for a smaller one.
const SLACK: u32 = 64;

/// Gives every set of keys that has no size one, by what it holds and by what the kernel has now.
pub(super) fn size(table: &mut Table, layout: &Layout) {
    assign(table, |name, count| choose(name, count, layout));
}

/// Gives every set that has no size the one it has in the kernel, if it is there.
pub(super) fn keep(table: &mut Table, layout: &Layout) {
    let held = |name: &SetName| sizes().find(|size| layout.held(&name_of(name, *size)).is_some());
    assign(table, |name, count| held(name).unwrap_or_else(|| choose(name, count, layout)));
}

/// Whether a set of this size would keep it with so many elements.
pub(crate) fn suits(size: u32, count: u32) -> bool {
    size >= count && (size == SMALLEST || size / SLACK <= count)
}

/// Ranges take no room before they are there.
fn has_no_size(set: &Set) -> bool {
    set.size.is_none() && set.filling == Filling::Keys
}

fn assign(table: &mut Table, size: impl Fn(&SetName, u32) -> u32) {
    let unsized_sets: Vec<SetName> =
        table.sets.iter().filter(|(_, set)| has_no_size(set)).map(|(name, _)| name.clone()).collect();
    let mut renamed = BTreeMap::new();
    for name in unsized_sets {
        let Some(set) = table.sets.remove(&name) else { continue };
        let size = size(&name, set.elements.len() as u32);
        let sized = name_of(&name, size);
        if sized != name {
            renamed.insert(name, sized.clone());
        }
        table.sets.insert(sized, set.sized(size));
    }
    if !renamed.is_empty() {
        let rules = table.chains.values_mut().flat_map(|chain| &mut chain.rules);
        rules.for_each(|rule| rename(rule, &renamed));
    }
}

/// The size that the kernel's set has if the elements fit, otherwise the smallest that they fit in.
fn choose(name: &SetName, count: u32, layout: &Layout) -> u32 {
    let held = sizes().find(|size| suits(*size, count) && layout.held(&name_of(name, *size)).is_some());
    held.or_else(|| sizes().find(|size| *size >= count)).unwrap_or(u32::MAX)
}

fn sizes() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(SMALLEST), |size| size.checked_mul(STEP))
}

fn name_of(name: &SetName, size: u32) -> SetName {
    if size == SMALLEST { name.clone() } else { format!("{name}-{size}").into() }
}

fn rename(rule: &mut Rule, renamed: &BTreeMap<SetName, SetName>) {
    for statement in &mut rule.0 {
        if let Some(set) = statement.set_mut()
            && let Some(name) = renamed.get(set)
        {
            *set = name.clone();
        }
    }
}
