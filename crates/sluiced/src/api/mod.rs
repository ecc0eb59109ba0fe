//! Ways to ask the daemon: the control socket, and the read-only HTTP listener with the status page and metrics. Both show
//! what the collector puts together.

pub mod collector;
pub(crate) mod control;
pub mod http;
pub(crate) mod metrics;
