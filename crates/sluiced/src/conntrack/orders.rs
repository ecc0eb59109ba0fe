//! [`FlowOrders`]: orders sweeps of conntrack at the right time. Runs on the reconcile task.
//!
//! A decision to change services records the affected flows. The sweep is ordered when a round has made the kernel equal to these
//! services, possibly after retries: an earlier sweep would delete flows that the old rules create again.

use std::sync::Arc;

use sluice_core::flows::{Affected, TableEndpoints};
use sluice_core::model::Transition;
use sluice_core::model::{EffectiveServices, OwnedEffectiveServices, Services};

use crate::conntrack::cleaner::{FlowCleaner, SweepOrder};
use crate::reconcile::{Outcome, RoundError};

/// Affected flows whose sweep waits for a round.
#[derive(Debug)]
pub(crate) struct FlowOrders {
    cleaner: FlowCleaner,
    pending: Affected,
}

impl FlowOrders {
    /// Without affected flows.
    pub(crate) fn new(cleaner: FlowCleaner) -> Self {
        FlowOrders { cleaner, pending: Affected::default() }
    }

    /// Records the flows that a transition affects.
    pub(crate) fn note(&mut self, transition: &Transition<'_>) {
        self.pending.merge(Affected::by(transition));
    }

    /// Records the flows that a start with these services affects; `found` describes the table before the start.
    pub(crate) fn note_start(&mut self, services: EffectiveServices<'_>, found: TableEndpoints) {
        self.pending.merge(Affected::at_start(services, found));
    }

    /// Records the result of a round that made the kernel equal to `services`, the effective services of `file`. Orders a
    /// sweep of the affected flows if the kernel was switched.
    pub(crate) fn record_round(
        &mut self,
        result: &Result<Outcome, RoundError>,
        file: &Arc<Services>,
        services: EffectiveServices<'_>,
    ) {
        match result {
            Ok(_) => {
                let affected = std::mem::take(&mut self.pending);
                self.order(affected, file, services);
            }
            // A retry may change the kernel again, so the affected flows are also swept after it.
            Err(error) if error.switched => self.order(self.pending.clone(), file, services),
            Err(_) => {}
        }
    }

    /// Sweeps the flows of the removed table, and waits until this and all earlier orders are executed.
    pub(crate) fn stop(mut self, held: EffectiveServices<'_>) {
        let nothing = Services::new();
        self.note(&Transition::between(held, &nothing));
        self.order(self.pending.clone(), &Arc::default(), EffectiveServices::from(&nothing));
        self.finish();
    }

    /// Waits until all orders are executed.
    pub(crate) fn finish(self) {
        self.cleaner.finish();
    }

    fn order(&self, affected: Affected, file: &Arc<Services>, services: EffectiveServices<'_>) {
        if affected.is_news {
            let services = Arc::new(OwnedEffectiveServices::new(file.clone(), services));
            self.cleaner.order(SweepOrder { affected, services });
        }
    }
}
