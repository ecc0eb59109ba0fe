//! What the daemon needs of the host: a clock, threads, the service manager.

pub(crate) mod clock;
pub mod systemd;
pub(crate) mod threads;
