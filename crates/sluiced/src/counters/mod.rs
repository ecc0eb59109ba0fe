//! Totals of new connections: the counters of the kernel's elements, and the last counts of deleted elements. `store` and `writer`
//! save them for the next daemon.

mod lines;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub mod totals;
pub(crate) mod writer;
