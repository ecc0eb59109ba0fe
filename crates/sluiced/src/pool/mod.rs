//! States of backends: health, overrides, slow start and load, when they last changed, and the readiness of services that
//! follows. The reconcile task owns these values;
//! readers get shared copies.

pub(crate) mod backend_states;
pub(crate) mod identity;
pub(crate) mod quorums;
pub(crate) mod ramps;
pub(crate) mod readiness;
pub(crate) mod state_since;
