//! The kernel as a dataplane.

use std::io;

use nix::errno::Errno;
use sluice_nft::{
    CommitError, Counter, Dataplane, Key, Part, ReadError, Receipt, Set, SetName, Snapshot, Step, Table,
    TableFlags, generation_after,
};

use crate::monitor::Monitor;
use crate::socket::Socket;
use crate::step::Target;
use crate::uapi::table::{OWNED, PERSIST};
use crate::{commit, dump, features};

/// nf_tables of the network namespace that the opening thread was in.
pub struct Netlink {
    /// All commits go through this one.
    pub(crate) writer: Socket,
    reader: Socket,
    /// Most bytes of a batch.
    pub(crate) limit: usize,
    sent: u64,
    /// Our table, with the flags that it is made with.
    table: Target,
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
        let port = writer.port().map_err(other)?;
        let wanted = match hold {
            Hold::Loosely => 0,
            Hold::ForOthers => PERSIST,
            Hold::Firmly => OWNED | PERSIST,
        };
        let taken = wanted != 0 && features::takes(&mut writer, limit, wanted).map_err(other)?;
        let table = Target { flags: if taken { wanted } else { 0 }, ..Target::SLUICE };
        Ok(Netlink { writer, reader, limit, sent: 0, table, port })
    }

    /// Whether tables that this makes are owned by it.
    pub fn owns(&self) -> bool {
        self.table.flags & OWNED != 0
    }

    /// Listens to what others do from now on.
    pub fn monitor(&self) -> Result<Monitor, OpenError> {
        Monitor::open(self.port).map_err(OpenError::Socket)
    }

    /// Number of messages that commits have sent to the kernel so far; questions don't count.
    pub fn messages_sent(&self) -> u64 {
        self.sent
    }
}

impl Dataplane for Netlink {
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        dump::read(&mut self.reader, self.port)
    }

    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        Ok(self.read()?.table.map(|table| table.part(part)))
    }

    fn counters(&mut self, name: &SetName, _: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        Ok(self.read()?.counters.remove(name).into_iter().flatten().collect())
    }

    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        let now = self.read()?.generation;
        Ok((now == generation).then_some(now))
    }

    /// Sends one batch, or nothing if there are no steps. Only where the system does not let a socket
    /// send so much at once (a large batch in an unprivileged user namespace) it sends several, split
    /// between steps and between elements in the order given; then those before the refused one were
    /// carried out.
    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        let (sent, result) =
            commit::commit(&mut self.writer, self.table, steps, planned_from, &mut self.limit);
        self.sent += sent;
        result.map(|generation| Receipt { generation, ..Receipt::default() })
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
