//! Sizes of sets. A set declared with a size is a hash table of fixed size in the kernel: faster to
//! fill and to read than one that grows by itself. When it is full, a larger one of
//! another name takes its place: the rules that use it are exchanged in one commit.
//!
//! A change adds before it deletes, in commits of their own, so a set must have room for what it holds and what it is
//! to hold together.

use std::collections::BTreeMap;

use sluice_nft::{Element, Filling, Key, Rule, Set, SetName, Table};

use super::layout::Layout;

/// Size of a set that holds few elements, and what each next size is larger by.
const SMALLEST: u32 = 1024;
const STEP: u32 = 4;

/// A set that is this many times too large is exchanged for a smaller one.
const SLACK: u32 = 64;

/// Gives every set of keys that has no size one, by what it holds and by what the kernel has now.
pub(super) fn size(table: &mut Table, current: Option<&Table>) {
    assign(table, |name, set| choose(name, set, |sized| current?.sets.get(sized)));
}

/// Gives every set that has no size the one it has in the kernel, if it is there.
pub(super) fn keep(table: &mut Table, layout: &Layout) {
    let held = |name: &SetName| sizes().find(|size| layout.held(&name_of(name, *size)).is_some());
    assign(table, |name, set| held(name).unwrap_or_else(|| choose(name, set, |_| None)));
}

/// Whether a set of this size would keep it with so many elements.
pub(crate) fn suits(size: u32, count: u32) -> bool {
    size >= count && (size == SMALLEST || size / SLACK <= count)
}

/// Ranges take no room before they are there.
fn has_no_size(set: &Set) -> bool {
    set.size.is_none() && set.filling == Filling::Keys
}

fn assign(table: &mut Table, size: impl Fn(&SetName, &Set) -> u32) {
    let unsized_sets: Vec<SetName> =
        table.sets.iter().filter(|(_, set)| has_no_size(set)).map(|(name, _)| name.clone()).collect();
    let mut renamed = BTreeMap::new();
    for name in unsized_sets {
        let Some(set) = table.sets.remove(&name) else { continue };
        let size = size(&name, &set);
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

/// The size that the kernel's set has if the elements fit in beside those that it holds, otherwise the smallest that
/// they fit in.
fn choose<'a>(name: &SetName, wanted: &Set, current: impl Fn(&SetName) -> Option<&'a Set>) -> u32 {
    let count = wanted.elements.len() as u32;
    let held = |size: u32| current(&name_of(name, size));
    let is_kept =
        |size: &u32| held(*size).is_some_and(|held| suits(*size, count) && has_room(*size, held, wanted));
    let is_free = |size: &u32| *size >= count && held(*size).is_none_or(|held| has_room(*size, held, wanted));
    sizes().find(is_kept).or_else(|| sizes().find(is_free)).unwrap_or(u32::MAX)
}

/// Whether the kernel's set has room for what is wanted beside what it holds. One that is declared otherwise is not
/// filled, but replaced.
fn has_room(size: u32, held: &Set, wanted: &Set) -> bool {
    let most = held.elements.len() + wanted.elements.len();
    held.size != Some(size)
        || most <= size as usize
        || together(&held.elements, &wanted.elements) <= size as usize
}

/// Number of keys that are in either.
fn together(these: &BTreeMap<Key, Element>, those: &BTreeMap<Key, Element>) -> usize {
    let mut others = those.keys().peekable();
    let in_both = these.keys().filter(|key| {
        while others.next_if(|other| other < key).is_some() {}
        others.next_if_eq(key).is_some()
    });
    these.len() + those.len() - in_both.count()
}

fn sizes() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(SMALLEST), |size| size.checked_mul(STEP))
}

/// What comes between a name and a size: in no name that has no size yet does it stand behind the last `/`.
const SEPARATOR: char = '_';

fn name_of(name: &SetName, size: u32) -> SetName {
    if size == SMALLEST { name.clone() } else { format!("{name}{SEPARATOR}{size}").into() }
}

/// Whether a set has this name, or has it together with a size.
pub(crate) fn is_called(set: &SetName, name: &SetName) -> bool {
    let Some(rest) = set.as_str().strip_prefix(name.as_str()) else { return false };
    rest.is_empty() || rest.strip_prefix(SEPARATOR).is_some_and(|size| size.parse::<u32>().is_ok())
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
