//! The kernel as a dataplane.

use std::io;

use nix::errno::Errno;
use sluice_nft::{
    CommitError, Counter, Data, Dataplane, Key, Part, ReadError, Receipt, Set, SetName, Snapshot, Step,
    Table, TableFlags, generation_after,
};

use crate::deleted::{self, Deleted};
use crate::dump::Reader;
use crate::socket::Socket;
use crate::step::Target;
use crate::uapi::table::{OWNED, PERSIST};
use crate::watch::Watch;
use crate::{commit, dump, features, read};

/// nf_tables of the network namespace that the opening thread was in.
pub struct Netlink {
    /// All commits go through this one.
    pub(crate) writer: Socket,
    /// All questions are asked through this one.
    pub(crate) reader: Socket,
    pub(crate) watch: Watch,
    /// Most bytes of a batch.
    pub(crate) limit: usize,
    /// Bytes that the kernel can tell us of a commit.
    pub(crate) room: usize,
    sent: u64,
    /// Our table, with the flags that it is made with.
    pub(crate) table: Target,
    /// Port of the writer.
    pub(crate) port: u32,
}

/// How tables are held that this process makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Anybody may change them.
    #[default]
    Loosely,
    /// The same, but who runs as a daemon later can own them.
    ForOthers,
    /// Nobody else may change them while we live; they outlive us.
    Firmly,
}

/// nf_tables can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel has no netlink for netfilter, or the process is out of descriptors.
    #[error("open a netlink socket for netfilter")]
    Socket(#[source] io::Error),
    /// The process lacks CAP_NET_ADMIN in the user namespace that owns the network namespace.
    #[error("ask for the generation of nf_tables (needs CAP_NET_ADMIN)")]
    Permission(#[source] io::Error),
    /// The kernel has netfilter, but no nf_tables (`CONFIG_NF_TABLES`).
    #[error("ask for the generation of nf_tables (CONFIG_NF_TABLES is missing)")]
    Missing(#[source] io::Error),
    /// Something else.
    #[error("ask for the generation of nf_tables")]
    Other(#[source] io::Error),
}

impl OpenError {
    /// Whether it is for want of a capability.
    pub fn is_permission(&self) -> bool {
        matches!(self, OpenError::Permission(_))
    }

    /// Of the first question that a new socket asks.
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => OpenError::Permission(errno.into()),
            // netfilter knows no subsystem of that number.
            Errno::EINVAL | Errno::EOPNOTSUPP => OpenError::Missing(errno.into()),
            errno => OpenError::Other(errno.into()),
        }
    }
}

/// A socket that is allowed to commit, and the most bytes of a batch for it.
pub(crate) fn open_writer() -> Result<(Socket, usize), OpenError> {
    let mut socket = Socket::open().map_err(OpenError::Socket)?;
    let limit = socket.enlarge().map_err(|errno| OpenError::Socket(errno.into()))?;
    dump::generation(&mut socket).map_err(OpenError::of)?;
    Ok((socket, limit))
}

impl Netlink {
    /// Opens nf_tables and makes sure that it answers.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_to(Hold::Loosely)
    }

    /// The same, to hold tables like this if the kernel lets us, which is tried, and else loosely: a table that
    /// is owned and does not persist would die with us.
    pub fn open_to(hold: Hold) -> Result<Self, OpenError> {
        let other = |errno: Errno| OpenError::Other(errno.into());
        let (mut writer, limit) = open_writer()?;
        let reader = Socket::open().map_err(OpenError::Socket)?;
        let room = writer.make_room(deleted::ROOM).map_err(other)?;
        let port = writer.port().map_err(other)?;
        let watch = Watch::open(port).map_err(OpenError::Socket)?;
        let wanted = match hold {
            Hold::Loosely => 0,
            Hold::ForOthers => PERSIST,
            Hold::Firmly => OWNED | PERSIST,
        };
        let taken = wanted != 0 && features::takes(&mut writer, limit, wanted).map_err(other)?;
        let table = Target { flags: if taken { wanted } else { 0 }, ..Target::SLUICE };
        Ok(Netlink { writer, reader, watch, limit, room, sent: 0, table, port })
    }

    /// Whether tables that this makes are owned by it.
    pub fn owns(&self) -> bool {
        self.table.flags & OWNED != 0
    }

    /// What the kernel calls the socket that commits.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Number of messages that commits have sent to the kernel so far; questions don't count.
    pub fn messages_sent(&self) -> u64 {
        self.sent
    }

    /// Number of questions asked so far.
    pub fn questions_asked(&self) -> u64 {
        self.reader.asked()
    }

    /// The parts that answer questions.
    fn asking(&mut self) -> (Reader<'_>, &mut Watch) {
        (Reader { socket: &mut self.reader, us: self.port }, &mut self.watch)
    }
}

impl Dataplane for Netlink {
    /// Others may change their tables meanwhile.
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        let (mut reader, watch) = self.asking();
        read::whole(&mut reader, watch)
    }

    /// Not of one moment, if somebody else changes our table meanwhile.
    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        read::part(&mut self.asking().0, part)
    }

    /// One dump of the elements of the set, in key order.
    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        if set.counter { read::counters(&mut self.asking().0, name) } else { Ok(vec![]) }
    }

    fn learned(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        read::learned(&mut self.asking().0, name, set)
    }

    /// While we own the table this is what the generation is. Else the kernel tells us of all commits, from the
    /// first time that this is asked: then, and after more commits than we have room for, it is `None` unless
    /// nobody committed anything.
    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        let (reader, watch) = self.asking();
        watch.unchanged_since(reader.socket, generation).map_err(|errno| ReadError {
            operation: format!("find out whether table {} was changed", Table::NAME),
            errno: sluice_nft::Errno(errno as i32),
        })
    }

    /// Sends one batch, or nothing if there are no steps. Only where the system does not let a socket
    /// send so much at once (a large batch in an unprivileged user namespace) it sends several, split
    /// between steps and between elements in the order given; then those before the refused one were
    /// carried out.
    ///
    /// Counts of deleted elements are their last, up to as many elements as the kernel has room to tell of: some ten
    /// thousand, or what `net.core.rmem_max` allows in a user namespace. (Should it run out of that all the same,
    /// the commit was carried out, and the counts are lost.) Those of more elements, and of sets and tables that
    /// are deleted whole, are read just before.
    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        let mut reader = Reader { socket: &mut self.reader, us: self.port };
        let mut deleted = Deleted::before(&mut reader, steps, self.room)
            .map_err(|ReadError { operation, errno }| CommitError { operation, errno })?;
        let (writer, limit) = (&mut self.writer, &mut self.limit);
        let (sent, result) = commit::commit(writer, self.table, steps, planned_from, limit, &mut deleted);
        self.sent += sent;
        result.map(|generation| Receipt { generation, deleted: deleted.counters() })
    }

    /// A table without `persist` can't be owned (`nf_tables_updtable`).
    fn adopt(&mut self, flags: TableFlags, planned_from: u32) -> Result<Option<u32>, CommitError> {
        if !self.owns() || flags != (TableFlags { owner: None, persist: true }) {
            return Ok(None);
        }
        commit::change_flags(&mut self.writer, self.table, Some(planned_from))?;
        self.sent += 3;
        Ok(Some(generation_after(planned_from)))
    }
}
