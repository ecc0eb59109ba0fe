//! Hooks of services: which of them ran last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluice_probe::{ProbeOutcome, ProbeResult};
use sluiced::hooks::RunHook;

/// Clones are the same.
#[derive(Clone, Default)]
pub struct HookRuns(Arc<Mutex<BTreeMap<String, bool>>>);

impl HookRuns {
    /// What a daemon runs its hooks with.
    pub fn runner(&self) -> RunHook {
        let runs = self.clone();
        Arc::new(move |call| {
            let runs = runs.clone();
            Box::pin(async move {
                runs.lock().insert(call.service.to_string(), call.ready);
                let (verdict, detail) = (ProbeResult::Success, "run".to_owned());
                ProbeOutcome { verdict, detail, took: Duration::ZERO }
            })
        })
    }

    /// Whether the last hook of a service was that of one that is ready; `None`: none ran in this daemon.
    pub fn last(&self, service: &str) -> Option<bool> {
        self.lock().get(service).copied()
    }

    /// Another daemon starts.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().expect("nobody panics")
    }
}
