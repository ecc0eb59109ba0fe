//! The service, listener and backend that an element of the table, or a flow, belongs to.

use std::collections::BTreeMap;

use sluice_nft::SetName;

use crate::model::{BackendName, DropReason, Listener, ServiceName};
use crate::render::FrontendId;

/// What counters are attributed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The service.
    pub service: ServiceName,
    /// One of its listeners.
    pub listener: Listener,
    /// One of its backends; `None` for what leads to all of them.
    pub backend: Option<BackendName>,
    /// Why packets end here that its element counts; `None` if they go on.
    pub dropped: Option<DropReason>,
}

/// What an element serves; as in its fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The listener.
    pub frontend: &'a FrontendId,
    /// The backend whose new connections it counts.
    pub backend: Option<&'a BackendName>,
    /// Why packets end here that it counts; `None` if they go on.
    pub dropped: Option<DropReason>,
}

/// Services of the elements of a table, set by set in the order of keys; `None` for an element of no service.
pub type Owners = BTreeMap<SetName, Vec<Option<ServiceName>>>;
