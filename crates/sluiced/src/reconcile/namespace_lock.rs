//! [`NamespaceLock`]: a lock on the table of a network namespace, also for kernels without owned tables. The kernel releases
//! it when the process ends.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sluice_nft::Table;
use tracing::warn;

use crate::fatal::{Exit, Fatal};
use crate::reconcile::Failure;

/// Bit of `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;

/// Hint for a second daemon.
const SECOND: &str =
    "a network namespace can have one sluiced: use `sluice reload` to apply your file, or stop the other one";

/// The lock: an abstract socket, whose name is unique in a network namespace. Dropping the value releases it.
#[derive(Debug, Default)]
pub struct NamespaceLock {
    _listener: Option<UnixListener>,
    is_held: bool,
}

impl NamespaceLock {
    /// Whether this process holds the lock; `false` if the name is taken by a process that cannot change tables.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// A lock without a socket, for tests with their own table.
    pub fn assumed() -> Self {
        NamespaceLock { _listener: None, is_held: true }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// If another process with `CAP_NET_ADMIN` holds it, or the socket cannot be bound.
    pub fn take() -> Result<Self, Fatal> {
        let failed = |error: io::Error| {
            let operation = format!("lock table {}: {error}", Table::NAME);
            Fatal::new(Exit::Runtime, operation, "raise the limits of the process")
        };
        let address = SocketAddr::from_abstract_name(Table::NAME).map_err(failed)?;
        // The holder may exit between our bind and our connect.
        for _ in 0..3 {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(NamespaceLock { _listener: Some(listener), is_held: true }),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(failed(error)),
                Err(_) => {}
            }
            let Ok(holder) = UnixStream::connect_addr(&address) else { continue };
            let pid = getsockopt(&holder, PeerCredentials).map_or(0, |credentials| credentials.pid());
            if may_change_tables(pid) {
                let port = pid.unsigned_abs();
                return Err(Fatal::new(Exit::Permission, Failure::Owned { port }, SECOND));
            }
            warn!("process {pid} holds the lock of table {} without CAP_NET_ADMIN; ignoring it", Table::NAME);
            return Ok(NamespaceLock::default());
        }
        Ok(NamespaceLock::default())
    }
}

/// Whether a process has `CAP_NET_ADMIN`. Any process can bind the name, and a process without the capability must not lock us out.
fn may_change_tables(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    capabilities.is_some_and(|mask| mask & 1 << NET_ADMIN != 0)
}
