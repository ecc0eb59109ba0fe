//! The environment of the daemon: clock, threads, the service manager.

pub(crate) mod clock;
pub(crate) mod heartbeat;
pub mod systemd;
pub(crate) mod threads;
