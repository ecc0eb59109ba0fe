//! Facts about the known table for readers: its sizes, and its sets with counters.

use std::sync::Arc;

use sluice_core::render::{Fragments, Program};
use sluice_nft::{Set, SetName, TableFlags};

/// Sizes and flags of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Whether the table exists.
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

/// The sets that count new connections, and the owners of their elements.
#[derive(Clone, Debug)]
pub struct Countable {
    /// Names and declarations of the sets with counters.
    pub sets: Vec<(SetName, Set)>,
    /// The fragments that attribute their elements to services and backends.
    pub fragments: Arc<Fragments>,
}

impl Inventory {
    pub(super) fn of(committed: &Program, flags: TableFlags) -> Self {
        let (sets, chains, elements) = committed.sizes();
        Inventory { present: true, flags, sets, chains, elements }
    }
}

impl Countable {
    pub(super) fn of(committed: &Program) -> Self {
        Countable { sets: committed.counting(), fragments: committed.fragments.clone() }
    }
}
