//! Owners of elements: the service, listener and backend that a counter is attributed to.

use std::collections::BTreeMap;

use sluice_nft::SetName;

use crate::model::{BackendName, DropReason, Listener, ServiceName};
use crate::render::FrontendId;

/// What a counter is attributed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The service.
    pub service: ServiceName,
    /// One of its listeners.
    pub listener: Listener,
    /// One of its backends; `None` if the counter is not for a single backend.
    pub backend: Option<BackendName>,
    /// The reason for which the counted packets are dropped; `None` if they are not dropped.
    pub dropped: Option<DropReason>,
}

/// The owner of an element, borrowed from its fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The listener.
    pub frontend: &'a FrontendId,
    /// The backend whose new connections it counts.
    pub backend: Option<&'a BackendName>,
    /// The reason for which the counted packets are dropped; `None` if they are not dropped.
    pub dropped: Option<DropReason>,
}

/// Services of the elements of a table, by set and in key order; `None` for an element without a service.
pub type Owners = BTreeMap<SetName, Vec<Option<ServiceName>>>;
