//! nftables over netlink, and kernel settings.
//!
//! [`Netlink`] is the kernel as a [`Dataplane`](sluice_nft::Dataplane). Steps become messages
//! (`step`, and for what they hold `rule`, `set`, `element`), messages a batch (`batch`), and a batch
//! is sent at once (`commit`). The other way, `dump` asks for our table and decodes what the kernel
//! answers. [`probe`] finds out what the kernel lacks. This is the only crate with unsafe code: it is what it takes to use libnftnl and libmnl.

mod attr;
mod batch;
mod commit;
mod dump;
mod element;
mod expr;
mod features;
mod message;
mod monitor;
mod netlink;
mod object;
mod reply;
mod rule;
mod set;
mod socket;
mod step;
mod sysctl;
#[cfg(test)]
mod tests;
mod uapi;

pub use features::{Missing, ProbeError, probe};
pub use monitor::{Change, Event, Monitor};
pub use netlink::{Hold, Netlink, OpenError};
pub use sysctl::{Proc, SysctlError};
