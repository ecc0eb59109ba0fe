//! Interfaces of the daemon: the control socket, and the read-only HTTP listener with the status page and metrics. Both serve
//! the snapshots of the collector.

pub mod collector;
mod connections;
pub(crate) mod control;
pub mod http;
pub(crate) mod metrics;
