//! Counters of our table, for who does not want to wait until the dataplane has time.

use std::io;

use sluice_nft::{Counter, Key, ReadError, Set, SetName};

use crate::dump::Reader;
use crate::read;
use crate::socket::Socket;

/// Reads counters in the network namespace that the opening thread was in. Dumps are free to all, whoever owns the table.
pub struct CounterReader(Socket);

impl CounterReader {
    /// Opens a socket.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        Socket::open().map(CounterReader)
    }

    /// What [`sluice_nft::Dataplane::counters`] says.
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        // Whose the table is does not matter to who only reads elements.
        let mut reader = Reader { socket: &mut self.0, us: 0 };
        if set.counter { read::counters(&mut reader, name) } else { Ok(vec![]) }
    }
}
