//! Sizes of sets. A set declared with a size is a hash table of fixed size in the kernel: faster to
//! fill and to read than one that grows by itself. When it is full, a larger one of
//! another name takes its place: the rules that use it are exchanged in one commit.

use std::collections::BTreeMap;

use sluice_nft::{Rule, SetName, Statement, Table};

use super::layout::Layout;

/// Size of a set that holds few elements, and what each next size is larger by.
const SMALLEST: u32 = 1024;
const STEP: u32 = 4;

/// A set that is this many times too large is exchanged for a smaller one.
const SLACK: u32 = 64;

/// Gives every set that has no size one, by what it holds and by what the kernel has now.
pub(super) fn size(table: &mut Table, layout: &Layout) {
    let unsized_sets: Vec<SetName> =
        table.sets.iter().filter(|(_, set)| set.size.is_none()).map(|(name, _)| name.clone()).collect();
    let mut renamed = BTreeMap::new();
    for name in unsized_sets {
        let Some(set) = table.sets.remove(&name) else { continue };
        let size = choose(&name, set.elements.len() as u32, layout);
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
    let sizes = || std::iter::successors(Some(SMALLEST), |size| size.checked_mul(STEP));
    let fits = |size: &u32| *size >= count;
    let bearable = |size: &u32| *size == SMALLEST || size / SLACK <= count;
    let held = sizes().filter(fits).filter(bearable).find(|size| layout.holds(&name_of(name, *size)));
    held.or_else(|| sizes().find(fits)).unwrap_or(u32::MAX)
}

fn name_of(name: &SetName, size: u32) -> SetName {
    if size == SMALLEST { name.clone() } else { format!("{name}-{size}").into() }
}

fn rename(rule: &mut Rule, renamed: &BTreeMap<SetName, SetName>) {
    for statement in &mut rule.0 {
        if let Statement::InSet(_, set) | Statement::VerdictMap(_, set) | Statement::Dnat { map: set, .. } =
            statement
            && let Some(name) = renamed.get(set)
        {
            *set = name.clone();
        }
    }
}
