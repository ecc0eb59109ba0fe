//! When flows are to be looked at: once the kernel has what they are judged by.
//!
//! What a change concerns is noted when it is decided on, and ordered when a round has brought the kernel there: at
//! once, or after as many retries as that takes.

use std::sync::Arc;

use sluice_core::flows::{Affected, Found};
use sluice_core::model::{InForce, Services, ServicesInForce};
use sluice_core::transition::Transition;

use crate::conntrack::cleaner::{Flows, Order};
use crate::reconcile::{Outcome, RoundError};

/// Orders about flows that wait for the kernel.
#[derive(Debug)]
pub(crate) struct FlowOrders {
    flows: Flows,
    pending: Affected,
}

impl FlowOrders {
    /// Nothing waits yet.
    pub(crate) fn new(flows: Flows) -> Self {
        FlowOrders { flows, pending: Affected::default() }
    }

    /// These services are wanted from now on in place of those.
    pub(crate) fn note(&mut self, transition: &Transition<'_>) {
        self.pending.merge(Affected::by(transition));
    }

    /// A daemon starts with these services, where this was found.
    pub(crate) fn note_start(&mut self, services: InForce<'_>, found: Found) {
        self.pending.merge(Affected::at_start(services, found));
    }

    /// A round ended that was to bring these services about, which are those of `file` or in their place.
    pub(crate) fn settle(
        &mut self,
        result: &Result<Outcome, RoundError>,
        file: &Arc<Services>,
        services: InForce<'_>,
    ) {
        match result {
            Ok(_) => {
                let affected = std::mem::take(&mut self.pending);
                self.order(affected, file, services);
            }
            // It is not certain what the kernel has now: this is done again.
            Err(error) if error.made => self.order(self.pending.clone(), file, services),
            Err(_) => {}
        }
    }

    /// The table is gone: waits until all that it translated has been looked at.
    pub(crate) fn stop(mut self, held: InForce<'_>) {
        let nothing = Services::new();
        self.note(&Transition::between(held, &nothing));
        self.order(self.pending.clone(), &Arc::default(), InForce::from(&nothing));
        self.finish();
    }

    /// Waits until all that is ordered has been done.
    pub(crate) fn finish(self) {
        self.flows.finish();
    }

    fn order(&self, affected: Affected, file: &Arc<Services>, services: InForce<'_>) {
        if affected.is_news {
            let services = Arc::new(ServicesInForce::new(file.clone(), services));
            self.flows.order(Order { affected, services });
        }
    }
}
