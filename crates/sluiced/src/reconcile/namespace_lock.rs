//! [`NamespaceLock`]: a lock on the table of a network namespace, also for kernels without owned tables. The kernel releases
//! it when the process ends.
//!
//! Every process of the namespace can bind the name, so a holder counts only if it can change tables. The kernel says which
//! user it is (SO_PEERCRED, unix(7)): root and our own user count. Root also sees other users' processes, and counts those with
//! CAP_NET_ADMIN, such as the daemon of the package. A process without privileges has the capability at most in a user
//! namespace of its own, or as another user than the one that bound the name (a set-user-ID program).

use std::fmt;
use std::fs;
use std::future::pending;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::{Uid, geteuid};
use sluice_nft::Table;
use tokio::time::sleep;
use tracing::warn;

use crate::fatal::{Exit, Fatal};

/// Bit of `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;

/// Hint for a second daemon.
const SECOND: &str =
    "a network namespace can have one sluiced: use `sluice reload` to apply your file, or stop the other one";

/// Attempts to take the lock or to find out who holds it: the holder may exit in between.
const ATTEMPTS: u32 = 3;

/// Wait before the next attempt, and after `accept` failed.
const RETRY: Duration = Duration::from_millis(100);

/// The lock: an abstract socket, whose name is unique in a network namespace. Dropping the value releases it.
#[derive(Debug, Default)]
pub struct NamespaceLock {
    listener: Option<UnixListener>,
    is_held: bool,
}

/// Another process holds the lock.
#[derive(Debug, thiserror::Error)]
#[error("table {} is owned by another process ({})", Table::NAME, .0)]
struct Locked(Holder);

/// The process that holds the lock: its id, and its user when it took the lock.
#[derive(Clone, Copy, Debug)]
struct Holder {
    pid: i32,
    uid: Uid,
}

impl NamespaceLock {
    /// Whether this process holds the lock; `false` if the name is taken by a process that cannot change tables.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// A lock without a socket, for tests with their own table.
    pub fn assumed() -> Self {
        NamespaceLock { listener: None, is_held: true }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// If another process that can change tables holds it, or the socket cannot be bound.
    pub fn take() -> Result<Self, Fatal> {
        let failed = |error: io::Error| {
            let operation = format!("lock table {}: {error}", Table::NAME);
            Fatal::new(Exit::Runtime, operation, "raise the limits of the process")
        };
        let address = SocketAddr::from_abstract_name(Table::NAME).map_err(failed)?;
        for _ in 0..ATTEMPTS {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(NamespaceLock { listener: Some(listener), is_held: true }),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(failed(error)),
                Err(_) => {}
            }
            match Holder::find() {
                Ok(holder) if holder.counts() => {
                    return Err(Fatal::new(Exit::Permission, Locked(holder), SECOND));
                }
                Ok(holder) => {
                    warn!(
                        "ignored the lock of table {}: its holder cannot change tables ({holder})",
                        Table::NAME
                    );
                    return Ok(NamespaceLock::default());
                }
                // It has exited, or accepts no connections.
                Err(Errno::ECONNREFUSED | Errno::EAGAIN) => thread::sleep(RETRY),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        warn!("ignored the lock of table {}: its holder accepts no connections", Table::NAME);
        Ok(NamespaceLock::default())
    }

    /// Holds the lock until the task is aborted, and accepts the connections of those who want to know the holder: otherwise
    /// any user could fill the queue, so that nobody can find out.
    pub(crate) async fn hold(self) {
        let Some(listener) = &self.listener else { return pending().await };
        let accepting = listener.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        });
        let Ok(accepting) = accepting else { return pending().await };
        loop {
            if accepting.accept().await.is_err() {
                sleep(RETRY).await;
            }
        }
    }
}

impl Holder {
    /// The process that listens on the name. Does not wait for a process that accepts no connections.
    fn find() -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let peer = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(peer.as_raw_fd(), &UnixAddr::new_abstract(Table::NAME.as_bytes())?)?;
        // As of its listen(2).
        let peer = getsockopt(&peer, PeerCredentials)?;
        Ok(Holder { pid: peer.pid(), uid: Uid::from_raw(peer.uid()) })
    }

    /// Whether it is a process that can change tables.
    fn counts(self) -> bool {
        let us = geteuid();
        self.uid.is_root() || self.uid == us || (us.is_root() && self.may_change_tables())
    }

    /// Whether the process has `CAP_NET_ADMIN` in our user namespace, as the user that took the lock.
    fn may_change_tables(self) -> bool {
        let user_namespace = |process: PathBuf| fs::read_link(process.join("ns/user")).ok();
        let theirs = user_namespace(self.directory());
        if theirs.is_none() || theirs != user_namespace("/proc/self".into()) {
            return false;
        }
        let status = fs::read_to_string(self.directory().join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let user = self.uid.to_string();
        let is_same = field("Uid:").split_ascii_whitespace().all(|uid| uid == user);
        let capabilities = u64::from_str_radix(field("CapEff:").trim(), 16).unwrap_or_default();
        is_same && capabilities & 1 << NET_ADMIN != 0
    }

    fn directory(self) -> PathBuf {
        format!("/proc/{}", self.pid).into()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In the unit's sandbox, /proc does not show processes of other users.
        if let Ok(name) = fs::read_to_string(self.directory().join("comm")) {
            write!(f, "{}, ", name.trim().escape_debug())?;
        }
        write!(f, "pid {}, uid {}", self.pid, self.uid)
    }
}
