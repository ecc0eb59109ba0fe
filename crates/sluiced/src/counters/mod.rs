//! Totals of new connections: what the kernel's elements count, and what deleted elements had counted.

mod lines;
pub(crate) mod store;
pub mod totals;
