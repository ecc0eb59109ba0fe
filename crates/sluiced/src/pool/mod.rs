//! States of backends: health, overrides, slow start and load, and when they last changed. The reconcile task owns these values;
//! readers get shared copies.

pub(crate) mod backend_states;
pub(crate) mod identity;
pub(crate) mod ramps;
pub(crate) mod state_since;
