//! The interface to the ruleset: implemented by the kernel (sluice-netlink) and by the fake.

use std::collections::BTreeMap;

use crate::{Data, Key, Part, Set, SetName, Step, Table};

/// The counter of an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets; at a nat hook, new flows.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

impl Counter {
    /// Whether both counts are 0.
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

/// Flags of a table: its owner, and whether it outlives the owner. They are not part of its text, because nft would
/// then load a table that dies with nft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFlags {
    /// `owner`: only this socket may change the table; `None`: any may.
    pub owner: Option<Owner>,
    /// `persist`: the table stays when its owner exits, and can be owned again.
    pub persist: bool,
}

/// The owner of a table: a netlink socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The socket that sends our commits.
    Us,
    /// Another socket, by port id; the port id of a process's first socket is the process id.
    Port(u32),
}

impl TableFlags {
    /// The names of the flags in nft.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.owner.is_some(), "owner"), (self.persist, "persist")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
    }
}

/// The state of the table in the kernel at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The table; `None` if it does not exist.
    pub table: Option<Table>,
    /// Its counters.
    pub counters: Counters,
    /// Its flags; none if it does not exist.
    pub flags: TableFlags,
    /// Generation of the ruleset: the number of the last commit by any program (`NFTA_GEN_ID`).
    pub generation: u32,
}

/// The result of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Generation after it; `None` if the commit was not planned from a generation.
    pub generation: Option<u32>,
    /// Last counts of the elements that it deleted, without those of 0. An element that is
    /// deleted and added again starts at 0.
    pub deleted: Counters,
}

/// A read that any thread may run, beside the dataplane that it is of.
pub type AsideRead<T> = Box<dyn FnOnce() -> Result<T, ReadError> + Send>;

/// Reads and changes the table.
pub trait Dataplane {
    /// Reads the whole table, as of one moment.
    fn read(&mut self) -> Result<Snapshot, ReadError>;

    /// The same, for another thread. Commits of this dataplane during the read may or may not be in it. By default it is read
    /// now.
    fn read_aside(&mut self) -> AsideRead<Snapshot> {
        let read = self.read();
        Box::new(|| read)
    }

    /// Reads a part of the table; `None` if the table does not exist. The cost is proportional to the
    /// part, not to the table.
    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError>;

    /// Reads the counters of one set with this declaration, in any order; `set.elements` is ignored. There are
    /// none if the set does not exist or has no counters.
    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError>;

    /// Reads the elements that rules added to a set with this declaration. There are none if the set does not exist.
    fn dynamic_elements(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError>;

    /// The same, for another thread. By default they are read now.
    fn dynamic_elements_aside(&mut self, name: &SetName, set: &Set) -> AsideRead<Vec<(Key, Data)>> {
        let read = self.dynamic_elements(name, set);
        Box::new(|| read)
    }

    /// The current generation, if no other program changed the table since `generation`; `None` if one did
    /// or may have done so.
    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError>;

    /// Applies all steps in order, or none. With `planned_from`, the generation of the snapshot from which
    /// they were planned, the commit fails with `ERESTART` if any program has committed since. `None` is
    /// for steps that are valid at any time.
    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError>;

    /// Becomes the owner of a table with these flags, if it has no owner and this dataplane owns the tables that
    /// it creates. Returns the generation after it; `None` if there was nothing to do.
    fn adopt(&mut self, _flags: TableFlags, _planned_from: u32) -> Result<Option<u32>, CommitError> {
        Ok(None)
    }
}

/// An operating system error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// The kernel's errors for rejected steps. The numbers are those of x86, ARM and RISC-V.
impl Errno {
    /// The table has another owner, or the capability is missing.
    pub const EPERM: Errno = Errno(1);
    /// An object that it refers to or deletes does not exist.
    pub const ENOENT: Errno = Errno(2);
    /// A signal, or a commit by another program, interrupted a dump.
    pub const EINTR: Errno = Errno(4);
    /// The object is referenced, or the chain has rules.
    pub const EBUSY: Errno = Errno(16);
    /// The object exists.
    pub const EEXIST: Errno = Errno(17);
    /// Key or data do not have the type of the set.
    pub const EINVAL: Errno = Errno(22);
    /// The set would exceed its size.
    pub const ENFILE: Errno = Errno(23);
    /// Chains form a loop, or are nested too deep.
    pub const EMLINK: Errno = Errno(31);
    /// A number or the length of a name is out of bounds.
    pub const ERANGE: Errno = Errno(34);
    /// A rule reads more bytes of a key or an address than it loads.
    pub const ENODATA: Errno = Errno(61);
    /// A slot number can exceed 32 bits.
    pub const EOVERFLOW: Errno = Errno(75);
    /// The ruleset has changed since the plan was made.
    pub const ERESTART: Errno = Errno(85);
    /// A statement is not supported at a hook that reaches it, or the target of a jump is a base chain.
    pub const EOPNOTSUPP: Errno = Errno(95);
}

/// The generation after a commit.
pub fn generation_after(generation: u32) -> u32 {
    // The kernel skips 0, which in a batch means any generation.
    generation.wrapping_add(1).max(1)
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl std::error::Error for Errno {}

/// A read failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct ReadError {
    /// The operation: "dump elements of inet sluice slots4-0".
    pub operation: String,
    /// The error of the system.
    #[source]
    pub errno: Errno,
}

/// A commit was rejected; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct CommitError {
    /// The rejected step in nft syntax, or the failed operation if no step caused the error.
    pub operation: String,
    /// The error of the system.
    #[source]
    pub errno: Errno,
}
