//! Threads that read and change conntrack. Each owns its own socket, and the reconcile task never waits for one.

pub mod bytes;
pub mod cleaner;
pub mod counter;
mod dump;
pub mod lister;
pub(crate) mod orders;
mod smallest;
mod tuple;
