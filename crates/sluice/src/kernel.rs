//! The kernel's ruleset, and failures to get at it.

use nix::errno::Errno;
use sluice_netlink::Netlink;
use sluice_nft::{CommitError, ReadError};
use sluiced::fatal::Fatal;
use sluiced::reconcile::RoundError;

/// Connects to nftables in the network namespace of this process.
pub(crate) fn open() -> Result<Netlink, Fatal> {
    Netlink::open().map_err(Fatal::open)
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
