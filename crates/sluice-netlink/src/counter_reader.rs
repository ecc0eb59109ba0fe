//! Reads our table's counters on a separate socket, independent of the dataplane.

use std::io;

use sluice_nft::{Counter, Key, ReadError, Set, SetName};

use crate::dump::Reader;
use crate::read;
use crate::socket::Socket;

/// Reads counters in the network namespace of the thread that opened it. Any program may dump a table, whoever owns it.
pub struct CounterReader(Socket);

impl CounterReader {
    /// Opens a socket.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        Socket::open().map(CounterReader)
    }

    /// As [`sluice_nft::Dataplane::counters`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        // The owner of the table does not matter for reading elements.
        let mut reader = Reader { socket: &mut self.0, us: 0 };
        if set.counter { read::counters(&mut reader, name) } else { Ok(vec![]) }
    }
}
