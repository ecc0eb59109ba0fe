//! Which service, listener and backend an element of the ruleset stands for.

use sluice_nft::Origin;

use crate::model::{BackendName, Listener, Reason, ServiceName};

/// What an element serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The service.
    pub service: ServiceName,
    /// One of its listeners.
    pub listener: Listener,
    /// One of its backends; `None` for what leads to all of them.
    pub backend: Option<BackendName>,
    /// Why packets end here that its element counts; `None` if they go on.
    pub dropped: Option<Reason>,
}

/// Flows by the number that elements carry.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<Flow>);

impl Origins {
    /// The flow behind the number that an element carries.
    pub fn get(&self, origin: Origin) -> Option<&Flow> {
        self.0.get(origin.0 as usize)
    }

    pub(crate) fn add(&mut self, flow: Flow) -> Origin {
        self.0.push(flow);
        Origin(self.0.len() as u32 - 1)
    }
}
