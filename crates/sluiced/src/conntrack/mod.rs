//! Threads that talk to conntrack: each owns a socket of its own, and the reconcile task never waits for one.

pub mod bytes;
pub mod cleaner;
pub mod counter;
mod first;
pub mod lister;
pub(crate) mod orders;
