//! What is in the kernel, for those who look at it.

use std::sync::Arc;

use sluice_core::committed::Committed;
use sluice_core::render::Layout;
use sluice_nft::{Set, SetName, Table, TableFlags};

/// What the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Whether there is a table.
    pub present: bool,
    /// Its flags.
    pub flags: TableFlags,
    /// Number of its sets and maps.
    pub sets: usize,
    /// Number of its chains.
    pub chains: usize,
    /// Number of elements of all sets.
    pub elements: usize,
}

/// Where new connections are counted, and whose each counter is.
#[derive(Clone, Debug)]
pub struct Countable {
    /// Names and declarations of the sets whose elements count.
    pub sets: Vec<(SetName, Set)>,
    /// Where slots lie in them.
    pub layout: Arc<Layout>,
}

impl Inventory {
    pub(super) fn of(table: Option<&Table>, flags: TableFlags) -> Self {
        let sets = || table.iter().flat_map(|table| table.sets.values());
        Inventory {
            present: table.is_some(),
            flags,
            sets: sets().count(),
            chains: table.map_or(0, |table| table.chains.len()),
            elements: sets().map(|set| set.elements.len()).sum(),
        }
    }
}

impl Countable {
    pub(super) fn of(committed: &Committed) -> Self {
        let counting = committed.table().sets.iter().filter(|(_, set)| set.counter);
        Countable {
            sets: counting.map(|(name, set)| (name.clone(), set.declaration_only())).collect(),
            layout: committed.layout(),
        }
    }
}
