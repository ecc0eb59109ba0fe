//! nftables, conntrack and rtnetlink over netlink, and sysctls.
//!
//! [`Netlink`] implements [`Dataplane`](sluice_nft::Dataplane) on the kernel. To commit, `step` encodes steps as messages
//! (with `rule`, `set` and `element`), `batch` joins the messages to a batch, `commit` sends the batch, and `deleted`
//! collects the last counts of deleted elements. To read, `read` and `dump` request the table or a part of it and decode
//! the answers. `listener` receives the kernel's events about commits: [`Monitor`] passes changes by other programs on,
//! and `watch` tells whether our table has changed. [`Interfaces`] follows interfaces and addresses over rtnetlink, and
//! [`Addresses`] adds and deletes addresses. [`probe`] finds missing kernel features. This is the only crate with
//! unsafe code, which libnftnl and libmnl require, and restrictions of [`programs`] between fork and exec.

mod addresses;
mod attr;
mod batch;
mod commit;
pub mod conntrack;
mod counter_reader;
#[cfg(any(test, fuzzing))]
pub mod datagram;
mod deleted;
mod dump;
mod element;
mod expr;
mod features;
mod interfaces;
mod listener;
pub mod memory;
mod message;
mod monitor;
mod netlink;
mod object;
mod open;
pub mod programs;
mod read;
mod reply;
mod rtnetlink;
mod rule;
mod set;
mod socket;
mod step;
mod sysctl;
mod target;
#[cfg(test)]
mod tests;
mod uapi;
mod watch;

pub use addresses::{Addresses, HostAddress};
pub use counter_reader::CounterReader;
pub use features::{Missing, ProbeError, probe};
pub use interfaces::{Changes, Interfaces, networks};
pub use monitor::{Change, Event, Monitor};
pub use netlink::{Netlink, TableOwnership};
pub use open::OpenError;
pub use sysctl::{Proc, SysctlError, switched};
