//! The environment of the daemon: clock, threads, processors, the service manager.

pub(crate) mod clock;
pub(crate) mod heartbeat;
pub mod processors;
pub mod systemd;
pub(crate) mod threads;
