//! What a plan is carried out on: the kernel, or the fake.

use std::collections::BTreeMap;

use crate::{Key, SetName, Step, Table};

/// Packets and bytes an element counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets; at a nat hook, new flows.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

/// Counters of all counted elements, by set and key.
pub type Counters = BTreeMap<SetName, BTreeMap<Key, Counter>>;

/// What the kernel holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The table; `None` when it does not exist.
    pub table: Option<Table>,
    /// Its counters.
    pub counters: Counters,
    /// Number of the last commit by anybody (`NFTA_GEN_ID`).
    pub generation: u32,
}

/// Where a ruleset lives.
pub trait Dataplane {
    /// Reads our table, all of it, as of one generation.
    fn read(&mut self) -> Result<Snapshot, ReadError>;

    /// Carries out all steps in order, or none of them.
    fn commit(&mut self, steps: &[Step]) -> Result<(), CommitError>;
}

/// An operating system error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl std::error::Error for Errno {}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct ReadError {
    /// What was being read: "dump elements of inet sluice slots4-0".
    pub operation: String,
    /// What the system said.
    #[source]
    pub errno: Errno,
}

/// A commit was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct CommitError {
    /// The refused step in nft syntax, or the failed operation when no step is to blame.
    pub operation: String,
    /// What the system said.
    #[source]
    pub errno: Errno,
}
