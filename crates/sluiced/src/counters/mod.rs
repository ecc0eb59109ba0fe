//! Totals of new connections: the counters of the kernel's elements, and the last counts of deleted elements.

mod lines;
pub(crate) mod store;
pub mod totals;
