//! What the daemon shows of itself: a view that the reconcile task hands out, and what its readers make of it.

pub(crate) mod builder;
pub(crate) mod events;
pub(crate) mod shared;
pub mod view;
