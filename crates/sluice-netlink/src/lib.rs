//! nftables over netlink, and kernel settings.
//!
//! [`Netlink`] is the kernel as a [`Dataplane`](sluice_nft::Dataplane). Steps become messages
//! (`step`, and for what they hold `rule`, `set`, `element`), messages a batch (`batch`), and a batch
//! is sent at once (`commit`), which tells what deleted elements had counted (`deleted`). The other way, `dump`
//! asks for our table, or a part of it (`read`), and decodes what the kernel answers. The kernel also tells what
//! others commit (`listener`): [`Monitor`] hands that on, and `watch` only wants to know whether our table is as it
//! was. [`probe`] finds out what the kernel lacks. This is the only crate with unsafe code: it is what it takes to
//! use libnftnl and libmnl.

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
mod read;
mod reply;
mod rtnetlink;
mod rule;
mod set;
mod socket;
mod step;
mod sysctl;
#[cfg(test)]
mod tests;
mod uapi;
mod watch;

pub use counter_reader::CounterReader;
pub use features::{Missing, ProbeError, probe};
pub use interfaces::{Changes, Interfaces, networks};
pub use monitor::{Change, Event, Monitor};
pub use netlink::{Hold, Netlink, OpenError};
pub use sysctl::{Proc, SysctlError, switched};
