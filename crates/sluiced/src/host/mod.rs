//! The host around the daemon: forwarding, the service manager, signals, what others change.

pub(crate) mod clock;
pub mod followers;
pub mod forwarding;
pub mod namespace_lock;
pub(crate) mod signals;
pub mod systemd;
pub(crate) mod threads;
