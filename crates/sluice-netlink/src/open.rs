//! Opening a netlink socket for nf_tables, and why that may fail.

use std::io;

use nix::errno::Errno;

use crate::dump;
use crate::socket::Socket;

/// nf_tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel has no netlink for netfilter, or the process has no free file descriptors.
    #[error("open a netlink socket for netfilter")]
    Socket(#[source] io::Error),
    /// The process lacks CAP_NET_ADMIN in the user namespace that owns the network namespace.
    #[error("ask for the generation of nf_tables (needs CAP_NET_ADMIN)")]
    Permission(#[source] io::Error),
    /// The kernel has netfilter, but no nf_tables (`CONFIG_NF_TABLES`).
    #[error("ask for the generation of nf_tables (CONFIG_NF_TABLES is missing)")]
    Missing(#[source] io::Error),
    /// Another error.
    #[error("ask for the generation of nf_tables")]
    Other(#[source] io::Error),
}

impl OpenError {
    /// Whether a capability is missing.
    pub fn is_permission(&self) -> bool {
        matches!(self, OpenError::Permission(_))
    }

    /// Classifies the error of the first request on a new socket.
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => OpenError::Permission(errno.into()),
            // netfilter has no subsystem with this number.
            Errno::EINVAL | Errno::EOPNOTSUPP => OpenError::Missing(errno.into()),
            errno => OpenError::Other(errno.into()),
        }
    }
}

/// A socket that may commit, and the maximum size of its batches in bytes.
pub(crate) fn open_writer() -> Result<(Socket, usize), OpenError> {
    let mut socket = Socket::open().map_err(OpenError::Socket)?;
    let limit = socket.enlarge().map_err(|errno| OpenError::Socket(errno.into()))?;
    dump::generation(&mut socket).map_err(OpenError::of)?;
    Ok((socket, limit))
}
