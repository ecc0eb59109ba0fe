//! The kernel's ruleset, and failures to get at it.

use nix::errno::Errno;
use sluice_netlink::Netlink;
use sluice_nft::{CommitError, ReadError};
use sluiced::fatal::{Exit, Fatal};
use sluiced::reconcile::RoundError;

/// Connects to nftables in the network namespace of this process.
pub(crate) fn open() -> Result<Netlink, Fatal> {
    let hint = "does this kernel have CONFIG_NF_TABLES?";
    Netlink::open().map_err(|error| Fatal::new(Exit::Runtime, error, hint))
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
