//! The kernel's ruleset, and failures to get at it.

use nix::errno::Errno;
use sluice_netlink::{Netlink, OpenError};
use sluice_nft::{CommitError, ReadError};
use sluiced::fatal::{Exit, Fatal};
use sluiced::reconcile::RoundError;

/// Connects to nftables in the network namespace of this process.
pub(crate) fn open() -> Result<Netlink, Fatal> {
    Netlink::open().map_err(|error| {
        let (exit, hint) = match error {
            OpenError::Permission(_) => (Exit::Permission, "be root or have CAP_NET_ADMIN"),
            OpenError::Missing(_) => {
                (Exit::KernelFeature, "load nf_tables, or use a kernel with CONFIG_NF_TABLES")
            }
            OpenError::Socket(_) | OpenError::Other(_) => {
                (Exit::Runtime, "does this kernel have CONFIG_NETFILTER_NETLINK and CONFIG_NF_TABLES?")
            }
        };
        Fatal::new(exit, error, hint)
    })
}

/// Reading it failed.
pub(crate) fn unread(error: ReadError) -> Fatal {
    Fatal::kernel(Some(Errno::from_raw(error.errno.0)), error)
}

/// It refused a change.
pub(crate) fn refused(error: CommitError) -> Fatal {
    Fatal::kernel(Some(Errno::from_raw(error.errno.0)), error)
}

/// A round of changes failed.
pub(crate) fn unfinished(RoundError { failure, .. }: RoundError) -> Fatal {
    Fatal::kernel(failure.errno(), failure)
}
