//! Ways to ask the daemon: the control socket, and the read-only HTTP listener with the status page and metrics.

pub(crate) mod control;
pub mod http;
pub(crate) mod metrics;
