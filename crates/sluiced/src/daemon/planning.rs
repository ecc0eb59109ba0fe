//! `Planner`: plans a reload, with the current health, overrides, slow start and load. The reconcile task creates it, and a
//! blocking thread runs it.

use std::sync::Arc;

use sluice_api::{ErrorReply, PlanBatch, PlanReport, PlanStep};
use sluice_config::Loaded;
use sluice_core::model::Transition;
use sluice_core::model::{EffectiveServices, Services};
use sluice_core::plan::report;
use sluice_core::plan::{Batch, Change, Plan, Summary};
use sluice_nft::Dataplane;
use sluice_probe::Board;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::daemon::Daemon;
use crate::daemon::health::expected;
use crate::fatal::chain;
use crate::pool::backend_states::BackendStates;
use crate::reconcile::PlanBasis;
use crate::status::shared::Shared;

/// The state of the daemon from which a reload would be planned.
#[derive(Debug)]
struct Planner {
    services: Arc<Services>,
    backend_states: Shared<BackendStates>,
    board: Board,
    basis: PlanBasis,
}

impl<D: Dataplane> Daemon<D> {
    /// Plans a reload of this configuration on a blocking thread, and changes nothing. The answer is an error if the kernel
    /// cannot be read.
    pub(crate) fn plan(&mut self, loaded: Loaded, answer: oneshot::Sender<Result<PlanReport, ErrorReply>>) {
        let basis = match self.reconciler.plan_basis() {
            Ok(basis) => basis,
            Err(error) => {
                let hint = "see `sluice status` and the log of sluiced".to_owned();
                let error = ErrorReply { error: format!("plan: {}", chain(&error)), hint };
                return drop(answer.send(Err(error)));
            }
        };
        let planner = Planner {
            services: self.config.services.clone(),
            backend_states: self.backend_states.clone(),
            board: self.prober.board().clone(),
            basis,
        };
        drop(spawn_blocking(move || answer.send(Ok(planner.plan(&loaded.config.services)))));
    }
}

impl Planner {
    /// Plans a reload of these services, and changes nothing.
    fn plan(self, file: &Services) -> PlanReport {
        let Planner { services, backend_states, basis, .. } = &self;
        let instead = self.after_a_reload(file);
        let held = backend_states.effective_services(services);
        let desired = EffectiveServices::new(file, &instead).with_networks(&backend_states.networks);
        let plan = basis.plan(&Transition::between(held, desired));
        // From now on, changes of the table need no copy.
        drop(self);
        shown(&plan)
    }

    /// Services of another file whose effective state would differ from it. A service that is equal in both files keeps its
    /// state: pending changes by health, slow start and load are applied without a reload.
    fn after_a_reload(&self, file: &Services) -> Services {
        let Planner { services, backend_states, board, .. } = self;
        let (expected, ..) = expected(services, backend_states, board, file);
        let serving = expected.effective_services(file);
        let other = serving.iter().filter(|(name, serving)| file.get(*name) != Some(serving));
        let mut instead: Services = other.map(|(name, serving)| (name.clone(), serving.clone())).collect();
        let held = backend_states.effective_services(services);
        for (name, service) in file.iter().filter(|(name, service)| services.get(*name) == Some(service)) {
            match held.get(name).filter(|serving| *serving != service) {
                Some(serving) => instead.insert(name.clone(), serving.clone()),
                None => instead.remove(name),
            };
        }
        instead
    }
}

/// The plan for the API.
pub fn shown(plan: &Plan) -> PlanReport {
    let Summary { added, changed, removed } = plan.summary();
    let batches = plan.batches.iter().map(batch).collect();
    PlanReport { added, changed, removed, batches, text: report(plan).to_string() }
}

fn batch(batch: &Batch) -> PlanBatch {
    PlanBatch { purpose: batch.purpose.as_str().to_owned(), steps: batch.changes.iter().map(step).collect() }
}

fn step(Change { step, reason }: &Change) -> PlanStep {
    PlanStep {
        step: step.to_string(),
        service: reason.service.as_ref().map(ToString::to_string),
        why: reason.to_string(),
    }
}
