//! The status: views that the reconcile task hands out, and snapshots that readers build from them.

pub(crate) mod builder;
pub(crate) mod events;
pub(crate) mod shared;
pub mod view;
