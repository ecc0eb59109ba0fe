//! What the daemon knows of backends: health, overrides, ramps and load, and since when. Values that the
//! reconcile task changes and others read.

pub(crate) mod backend_states;
pub(crate) mod identity;
pub(crate) mod ramps;
pub(crate) mod state_since;
