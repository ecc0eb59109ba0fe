//! What is in the kernel, for those who look at it.

use std::sync::Arc;

use sluice_core::render::{Fragments, Program};
use sluice_nft::{Set, SetName, TableFlags};

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
    /// What their elements are for.
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
