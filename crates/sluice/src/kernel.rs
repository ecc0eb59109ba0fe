//! Access to the kernel, with errors for the command line.

use ipnet::IpNet;
use nix::errno::Errno;
use sluice_core::model::Networks;
use sluice_netlink::{Netlink, TableOwnership};
use sluice_nft::ReadError;
use sluiced::fatal::{Exit, Fatal};
use sluiced::reconcile::{Failure, RoundError};

/// Connects to nftables in the network namespace of this process. A daemon can own the created table later.
pub(crate) fn open() -> Result<Netlink, Fatal> {
    Netlink::open_to(TableOwnership::Persist).map_err(Fatal::open)
}

/// The same without probing for kernel features: for reading and removing.
pub(crate) fn look() -> Result<Netlink, Fatal> {
    Netlink::open().map_err(Fatal::open)
}

/// The networks that this host is in.
pub(crate) fn networks() -> Result<Networks, Fatal> {
    addresses().map(Networks::of)
}

/// Names of interfaces, and their addresses with prefix lengths.
pub(crate) fn addresses() -> Result<Vec<(String, IpNet)>, Fatal> {
    let fatal = |error| {
        Fatal::new(Exit::Runtime, format!("read interfaces: {error}"), "raise the limits of the process")
    };
    sluice_netlink::networks().map_err(fatal)
}

/// The error of reading the ruleset.
pub(crate) fn unread(error: ReadError) -> Fatal {
    Fatal::kernel(Some(Errno::from_raw(error.errno.0)), error)
}

/// The error of a commit.
pub(crate) fn refused(failure: Failure) -> Fatal {
    Fatal::kernel(failure.errno(), failure)
}

/// The error of a reconcile round.
pub(crate) fn unfinished(RoundError { failure, .. }: RoundError) -> Fatal {
    Fatal::kernel(failure.errno(), failure)
}
