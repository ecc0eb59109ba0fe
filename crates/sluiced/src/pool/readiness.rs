//! [`Readiness`]: which services are ready, for readers, and for tasks that wait for changes.

use std::sync::Arc;

use sluice_core::model::{ServiceName, Services};
use sluice_core::pool::readiness::{NotReady, readiness};

use crate::pool::quorums::Quorums;

/// What the readiness of all services follows from, at one moment between two rounds. Clones share their data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) services: Arc<Services>,
    pub(crate) quorums: Quorums,
    /// Why no service of this node is ready.
    pub(crate) node: Option<NotReady>,
}

impl Readiness {
    /// Whether a service of the file is ready, or why not; `None` if it is not in the file.
    pub(crate) fn of(&self, name: &ServiceName) -> Option<Result<(), NotReady>> {
        let service = self.services.get(name)?;
        Some(readiness(service, self.node.as_ref(), self.quorums.lost(name)))
    }

    /// The same if nothing concerned all services.
    pub(crate) fn apart_from_node(&self, name: &ServiceName) -> Option<Result<(), NotReady>> {
        Some(readiness(self.services.get(name)?, None, self.quorums.lost(name)))
    }

    /// Whether nothing changed since another moment. Cheap if nothing did.
    pub(crate) fn is_same(&self, other: &Readiness) -> bool {
        Arc::ptr_eq(&self.services, &other.services)
            && self.node == other.node
            && self.quorums == other.quorums
    }
}
