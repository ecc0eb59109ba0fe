//! The environment of the daemon: clock, threads, the service manager.

pub(crate) mod clock;
pub mod systemd;
pub(crate) mod threads;
