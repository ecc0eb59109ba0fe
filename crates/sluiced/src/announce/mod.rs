//! Announced addresses: addresses of listeners that are on an interface while their services are ready.
//!
//! The reconcile task computes the claims from the readiness of services, and orders them of the announcer, a thread that
//! reads the addresses of the host, computes the changes, and makes them. A report comes back.

mod announcements;
mod announcer;
mod changes;
mod claims;
mod fake;
mod host_addresses;
mod queue;
mod view;

pub(crate) use self::announcements::{Announcements, Ready, Withheld};
pub use self::announcer::{Announcer, StartAnnouncer, start_thread};
pub use self::fake::FakeAddresses;
pub use self::host_addresses::{HostAddresses, remove_all};
pub(crate) use self::queue::{AnnounceQueue, Report};
pub(crate) use self::view::AnnounceView;
