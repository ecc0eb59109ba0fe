//! What a plan is carried out on: the kernel, or the fake.

use std::collections::BTreeMap;

use crate::{Data, Key, Part, Set, SetName, Step, Table};

/// Packets and bytes an element counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets; at a nat hook, new flows.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

impl Counter {
    /// Whether it has counted nothing.
    pub fn is_zero(self) -> bool {
        self == Counter::default()
    }
}

impl std::ops::AddAssign for Counter {
    fn add_assign(&mut self, other: Counter) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Counters of counted elements, by set and key.
pub type Counters = BTreeMap<SetName, BTreeMap<Key, Counter>>;

/// Flags of a table: who may change it, and whether it outlives them. They are no part of its text, for a
/// table that nft loads with them would die with nft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFlags {
    /// `owner`: the only one who may change it; `None`: anybody may.
    pub owner: Option<Owner>,
    /// `persist`: it stays when its owner goes, and can then be owned again.
    pub persist: bool,
}

/// Who owns a table: a netlink socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The one that commits are sent through.
    Us,
    /// Another one, of this port id; that of a process' first socket is the process id.
    Port(u32),
}

impl TableFlags {
    /// As nft calls them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.owner.is_some(), "owner"), (self.persist, "persist")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
    }
}

/// What the kernel holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The table; `None` when it does not exist.
    pub table: Option<Table>,
    /// Its counters.
    pub counters: Counters,
    /// Its flags; none when it does not exist.
    pub flags: TableFlags,
    /// Number of the last commit by anybody (`NFTA_GEN_ID`).
    pub generation: u32,
}

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Generation that it led to; `None` if it was not planned from one.
    pub generation: Option<u32>,
    /// Last counts of the elements that it deleted, of those that had counted anything. An element that is
    /// deleted and added again starts at zero.
    pub deleted: Counters,
}

/// Where a ruleset lives.
pub trait Dataplane {
    /// Reads our table, all of it, as of one moment.
    fn read(&mut self) -> Result<Snapshot, ReadError>;

    /// Reads a part of our table; `None` when the table does not exist. What it costs is in proportion to the
    /// part, not to the table.
    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError>;

    /// Reads the counters of one set of this declaration, in no order; its `elements` don't matter. There are
    /// none when the set does not exist or does not count.
    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError>;

    /// Reads what rules put into a set of this declaration. There is nothing when the set does not exist.
    fn learned(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError>;

    /// The generation now, if nobody but us has touched our table since `generation`; `None` if somebody has,
    /// or may have.
    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError>;

    /// Carries out all steps in order, or none of them. With `planned_from`, the generation of the snapshot that
    /// they were planned from, they are refused (`ERESTART`) if anybody has committed anything since. `None` is
    /// for steps that are right at any time.
    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError>;

    /// Becomes the owner of the table of this snapshot, if it is one to be had and this dataplane is to own what
    /// it makes. Returns the generation that led to; `None` if there was nothing to do.
    fn adopt(&mut self, _flags: TableFlags, _planned_from: u32) -> Result<Option<u32>, CommitError> {
        Ok(None)
    }
}

/// An operating system error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What the kernel says of a refused step. The numbers are those of x86, ARM and RISC-V.
impl Errno {
    /// It is owned by somebody else, or the capability is missing.
    pub const EPERM: Errno = Errno(1);
    /// Something it refers to, or is to delete, does not exist.
    pub const ENOENT: Errno = Errno(2);
    /// A signal, or a commit by somebody else, interrupted a dump.
    pub const EINTR: Errno = Errno(4);
    /// Something refers to it, or it holds rules.
    pub const EBUSY: Errno = Errno(16);
    /// It exists already.
    pub const EEXIST: Errno = Errno(17);
    /// Key or data are not of the set's type.
    pub const EINVAL: Errno = Errno(22);
    /// A set would hold more than its size.
    pub const ENFILE: Errno = Errno(23);
    /// Chains lead to each other in a circle, or too deep.
    pub const EMLINK: Errno = Errno(31);
    /// A number or name is out of bounds.
    pub const ERANGE: Errno = Errno(34);
    /// A rule reads more of a key or an address than it loaded.
    pub const ENODATA: Errno = Errno(61);
    /// A slot number can exceed 32 bits.
    pub const EOVERFLOW: Errno = Errno(75);
    /// The ruleset is no longer the one that was planned from.
    pub const ERESTART: Errno = Errno(85);
    /// A statement has no meaning at a hook that leads to it, or a base chain is led to.
    pub const EOPNOTSUPP: Errno = Errno(95);
}

/// The generation that a commit leads to.
pub fn generation_after(generation: u32) -> u32 {
    // The kernel leaves out 0, with which a batch says that any generation is fine.
    generation.wrapping_add(1).max(1)
}

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
