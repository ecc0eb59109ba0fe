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

/// Services of the elements of a table.
#[derive(Debug, Default)]
pub struct Owners {
    services: Vec<ServiceName>,
    /// By set, in key order: the place of the service in `services`, from 1; 0 for an element without a service.
    pub(super) by_set: BTreeMap<SetName, Vec<u32>>,
}

impl Owners {
    /// `services` are in order.
    pub(super) fn new<'a>(services: impl Iterator<Item = &'a ServiceName>) -> Self {
        Owners { services: services.cloned().collect(), by_set: BTreeMap::new() }
    }

    /// The place of a service, in the order of names.
    pub(super) fn place(&self, service: Option<&ServiceName>) -> u32 {
        let found = service.and_then(|service| self.services.binary_search(service).ok());
        found.map_or(0, |index| index as u32 + 1)
    }

    /// Places of the services of a set's elements, in key order.
    pub(crate) fn places(&self, set: &SetName) -> &[u32] {
        self.by_set.get(set).map_or(&[], |places| places)
    }

    /// The service at a place.
    pub(crate) fn service(&self, place: u32) -> Option<ServiceName> {
        self.services.get((place as usize).checked_sub(1)?).cloned()
    }
}
