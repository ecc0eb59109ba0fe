//! Plans a reload, with the current health, overrides, slow start and load.

use sluice_api::{ErrorReply, PlanBatch, PlanReport, PlanStep};
use sluice_config::Loaded;
use sluice_core::model::Transition;
use sluice_core::model::{EffectiveServices, Services};
use sluice_core::plan::report;
use sluice_core::plan::{Batch, Change, Plan, Summary};
use sluice_nft::Dataplane;

use crate::daemon::Daemon;
use crate::fatal::chain;

impl<D: Dataplane> Daemon<D> {
    /// Plans a reload of this configuration, and changes nothing.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub(crate) fn plan(&mut self, loaded: Loaded) -> Result<PlanReport, ErrorReply> {
        let file = loaded.config.services;
        let instead = self.after_a_reload(&file);
        let held = self.backend_states.effective_services(&self.config.services);
        let wanted = EffectiveServices::new(&file, &instead).with_networks(&self.backend_states.networks);
        let plan = self.reconciler.plan(&Transition::between(held, wanted)).map_err(|error| {
            let hint = "see `sluice status` and the log of sluiced".to_owned();
            ErrorReply { error: format!("plan: {}", chain(&error)), hint }
        })?;
        Ok(shown(&plan))
    }

    /// Services of another file whose effective state would differ from it. A service that is equal in both files keeps its
    /// state: pending changes by health, slow start and load are applied without a reload.
    fn after_a_reload(&self, file: &Services) -> Services {
        let (backend_states, ..) = self.expected(file);
        let serving = backend_states.effective_services(file);
        let other = serving.iter().filter(|(name, serving)| file.get(*name) != Some(serving));
        let mut instead: Services = other.map(|(name, serving)| (name.clone(), serving.clone())).collect();
        let held = self.backend_states.effective_services(&self.config.services);
        for (name, service) in
            file.iter().filter(|(name, service)| self.config.services.get(*name) == Some(service))
        {
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
