//! [`Netlink`]: the kernel as a [`Dataplane`].

use nix::errno::Errno;
use sluice_nft::{
    AsideRead, CommitError, Counter, Data, Dataplane, Key, Part, ReadError, Receipt, Set, SetName, Snapshot,
    Step, Table, TableFlags, generation_after,
};

use crate::deleted::{self, Deleted};
use crate::dump::Reader;
use crate::open::{OpenError, open_writer};
use crate::socket::Socket;
use crate::target::Target;
use crate::uapi::table::{OWNED, PERSIST};
use crate::watch::TableWatch;
use crate::{commit, features, read};

/// nf_tables in the network namespace of the thread that opened it.
pub struct Netlink {
    /// Sends all commits.
    pub(crate) writer: Socket,
    /// Sends all requests.
    pub(crate) reader: Socket,
    pub(crate) watch: TableWatch,
    /// Maximum size of a batch in bytes.
    pub(crate) limit: usize,
    /// Size of the writer's receive buffer, for echoes of a commit.
    pub(crate) room: usize,
    sent: u64,
    /// Our table, with the flags for its creation.
    pub(crate) table: Target,
    /// Netlink port of the writer.
    pub(crate) port: u32,
}

/// Flags of tables that this process creates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableOwnership {
    /// None: any program may change them.
    #[default]
    None,
    /// `persist`: any program may change them, and a daemon can own them later.
    Persist,
    /// `owner` and `persist`: no other program may change them while this process runs; they outlive it.
    Owner,
}

impl Netlink {
    /// Opens nf_tables and checks that it answers.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_to(TableOwnership::None)
    }

    /// The same, with these flags for tables if the kernel accepts them, which is tested, and otherwise without flags: a
    /// table with an owner and without `persist` would be deleted with the process.
    pub fn open_to(hold: TableOwnership) -> Result<Self, OpenError> {
        let other = |errno: Errno| OpenError::Other(errno.into());
        let (mut writer, limit) = open_writer()?;
        let reader = Socket::open().map_err(OpenError::Socket)?;
        let room = writer.make_room(deleted::ROOM).map_err(other)?;
        let port = writer.port().map_err(other)?;
        let watch = TableWatch::open(port).map_err(OpenError::Socket)?;
        let desired = match hold {
            TableOwnership::None => 0,
            TableOwnership::Persist => PERSIST,
            TableOwnership::Owner => OWNED | PERSIST,
        };
        let taken = desired != 0 && features::takes(&mut writer, limit, desired).map_err(other)?;
        let table = Target { flags: if taken { desired } else { 0 }, ..Target::SLUICE };
        Ok(Netlink { writer, reader, watch, limit, room, sent: 0, table, port })
    }

    /// Whether it owns the tables that it creates.
    pub fn owns(&self) -> bool {
        self.table.flags & OWNED != 0
    }

    /// Netlink port of the socket that commits.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Number of messages that commits have sent so far, without requests.
    pub fn messages_sent(&self) -> u64 {
        self.sent
    }

    /// Number of requests so far.
    pub fn requests_sent(&self) -> u64 {
        self.reader.asked()
    }

    /// A read on sockets of its own, in the network namespace of the calling thread.
    fn aside<T: 'static>(
        &self,
        read: impl FnOnce(&mut Reader<'_>, &mut TableWatch) -> Result<T, ReadError> + Send + 'static,
    ) -> AsideRead<T> {
        let us = self.port;
        let sockets = Socket::open().and_then(|socket| Ok((socket, TableWatch::open(us)?)));
        Box::new(move || {
            let (mut socket, mut watch) = sockets.map_err(|error| {
                let errno = sluice_nft::Errno(error.raw_os_error().unwrap_or(Errno::EIO as i32));
                ReadError { operation: "open a netlink socket".to_owned(), errno }
            })?;
            read(&mut Reader { socket: &mut socket, us }, &mut watch)
        })
    }

    /// The parts that read.
    fn asking(&mut self) -> (Reader<'_>, &mut TableWatch) {
        (Reader { socket: &mut self.reader, us: self.port }, &mut self.watch)
    }
}

impl Dataplane for Netlink {
    /// Other programs may change their tables during the read.
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        let (mut reader, watch) = self.asking();
        read::whole(&mut reader, watch)
    }

    fn read_aside(&mut self) -> AsideRead<Snapshot> {
        self.aside(read::whole)
    }

    /// Not of one moment if another program changes our table during the read.
    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        read::part(&mut self.asking().0, part)
    }

    /// One dump of the elements of the set, in key order.
    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        if set.counter { read::counters(&mut self.asking().0, name) } else { Ok(vec![]) }
    }

    fn dynamic_elements(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        read::learned(&mut self.asking().0, name, set)
    }

    fn dynamic_elements_aside(&mut self, name: &SetName, set: &Set) -> AsideRead<Vec<(Key, Data)>> {
        let (name, set) = (name.clone(), set.clone());
        self.aside(move |reader, _| read::learned(reader, &name, &set))
    }

    /// While we own the table, this is the current generation. Otherwise this subscribes to events about commits at the
    /// first call. At the first call, and after lost events, it is `None` unless there was no commit at all.
    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        let (reader, watch) = self.asking();
        watch.unchanged_since(reader.socket, generation).map_err(|errno| ReadError {
            operation: format!("find out whether table {} was changed", Table::NAME),
            errno: sluice_nft::Errno(errno as i32),
        })
    }

    /// Sends one batch, or nothing if there are no steps. If the system limits the size of a send
    /// (a large batch in an unprivileged user namespace), it sends several batches, split
    /// between steps and between elements, in order. If one of them is rejected, those before it were
    /// applied.
    ///
    /// Counts of deleted elements are exact for as many elements as fit into the receive buffer: some ten
    /// thousand, or what `net.core.rmem_max` permits in a user namespace. (If the buffer overflows nevertheless,
    /// the commit was applied and the counts are lost.) Counts of more elements, and of deleted sets and tables,
    /// are read just before the commit.
    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        let mut reader = Reader { socket: &mut self.reader, us: self.port };
        let mut deleted = Deleted::before(&mut reader, steps, self.room)
            .map_err(|ReadError { operation, errno }| CommitError { operation, errno })?;
        let (writer, limit) = (&mut self.writer, &mut self.limit);
        let (sent, result) = commit::commit(writer, self.table, steps, planned_from, limit, &mut deleted);
        self.sent += sent;
        result.map(|generation| Receipt { generation, deleted: deleted.counters() })
    }

    /// An existing table without `persist` cannot get an owner (`nf_tables_updtable`).
    fn adopt(&mut self, flags: TableFlags, planned_from: u32) -> Result<Option<u32>, CommitError> {
        if !self.owns() || flags != (TableFlags { owner: None, persist: true }) {
            return Ok(None);
        }
        commit::change_flags(&mut self.writer, self.table, Some(planned_from))?;
        self.sent += 3;
        Ok(Some(generation_after(planned_from)))
    }
}
