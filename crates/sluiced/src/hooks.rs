//! `HookRunner`: runs `on_ready` and `on_unready` when services become ready or not. A task of its own.
//!
//! At most one hook of a service runs. A state that a service has only while a hook runs is skipped: after the hook, the next
//! one runs only if the newest state differs from that of the hook. The reconcile task never waits for a hook, except at a stop.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_api::{HookStatus, Timestamp};
use sluice_core::model::{Hooks, ServiceName};
use sluice_core::pool::readiness::NotReady;
use sluice_probe::{ProbeOutcome, ProbeResult, Slots, run_program};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::host::clock::now;
use crate::pool::readiness::Readiness;
use crate::request::Request;

/// Time limit of a hook; then its process group is killed.
pub(crate) const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of hooks of all services that run at a time.
const AT_ONCE: usize = 64;

/// The program of a hook and what it is told.
#[derive(Clone, Debug)]
pub struct HookCall {
    /// Program and arguments.
    pub command: Arc<[String]>,
    /// The service.
    pub service: ServiceName,
    /// Whether the service is ready.
    pub ready: bool,
    /// Why it is not; empty if it is.
    pub reason: String,
    slots: Slots,
}

/// Runs a hook: as a program, or in another way in tests.
pub type RunHook = Arc<dyn Fn(HookCall) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> + Send + Sync>;

/// Runs hooks as programs.
pub fn programs() -> RunHook {
    Arc::new(|HookCall { command, service, reason, slots, .. }| {
        Box::pin(async move {
            let environment = [("SLUICE_SERVICE", service.to_string()), ("SLUICE_REASON", reason)];
            run_program(&command, &environment, HOOK_TIMEOUT, &slots).await
        })
    })
}

/// The task.
pub(crate) struct HookRunner {
    run: RunHook,
    readiness: watch::Receiver<Readiness>,
    /// Receives the results.
    requests: mpsc::Sender<Request>,
    services: BTreeMap<ServiceName, HookState>,
    running: JoinSet<(ServiceName, HookStatus)>,
    permits: Arc<Semaphore>,
    /// Whether the daemon stops and all hooks have run.
    ended: watch::Sender<bool>,
}

/// Waits for the hooks of a daemon that stops.
#[derive(Debug)]
pub(crate) struct LastHooks(watch::Receiver<bool>);

impl LastHooks {
    /// Waits until they have run.
    pub(crate) async fn ended(mut self) {
        // Without the task nothing runs.
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

/// The hooks of a service.
#[derive(Debug, Default)]
struct HookState {
    hooks: Hooks,
    /// The state for which a hook was started last.
    told: Option<bool>,
    is_running: bool,
    slots: Slots,
}

impl HookRunner {
    /// Starts the task.
    pub(crate) fn start(
        run: RunHook,
        readiness: watch::Receiver<Readiness>,
        requests: mpsc::Sender<Request>,
    ) -> LastHooks {
        let (ended, last) = watch::channel(false);
        let (services, running, permits) =
            (BTreeMap::new(), JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        let runner = HookRunner { run, readiness, requests, services, running, permits, ended };
        tokio::spawn(runner.serve());
        LastHooks(last)
    }

    /// Runs hooks until the daemon ends.
    async fn serve(mut self) {
        loop {
            self.start_due();
            tokio::select! {
                changed = self.readiness.changed() => if changed.is_err() { return },
                Some(ended) = self.running.join_next() => self.end(ended).await,
            }
        }
    }

    /// Starts hooks for services whose state differs from what was told last.
    fn start_due(&mut self) {
        let now = self.readiness.borrow_and_update().clone();
        for (name, service) in now.services.iter() {
            match service.hooks.any() {
                true => self.services.entry(name.clone()).or_default().hooks = service.hooks.clone(),
                // Hooks that are added later run once for the state of then.
                false => drop(self.services.remove(name)),
            }
        }
        let names: Vec<_> = self.services.keys().cloned().collect();
        for name in names {
            let reason = match now.of(&name) {
                Some(readiness) => readiness.err().as_ref().map(NotReady::to_string),
                None => Some("removed from the configuration".to_owned()),
            };
            self.tell(&name, reason);
        }
        self.services.retain(|name, state| state.is_running || now.services.contains_key(name));
        self.ended.send_replace(now.node == Some(NotReady::Stopping) && self.running.is_empty());
    }

    /// Starts the hook of a service that is ready, or not for this reason, if it was not told.
    fn tell(&mut self, name: &ServiceName, reason: Option<String>) {
        let Some(state) = self.services.get_mut(name) else { return };
        let ready = reason.is_none();
        if state.is_running || state.told == Some(ready) {
            return;
        }
        state.told = Some(ready);
        let command = if ready { &state.hooks.on_ready } else { &state.hooks.on_unready };
        let Some(command) = command.clone() else { return };
        state.is_running = true;
        let (service, slots) = (name.clone(), state.slots.clone());
        let call = HookCall { command, service, ready, reason: reason.unwrap_or_default(), slots };
        let (run, permits) = (self.run.clone(), self.permits.clone());
        self.running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let (name, ready) = (call.service.clone(), call.ready);
            (name, status(ready, run(call).await, now()))
        });
    }

    /// Records the end of a hook.
    async fn end(&mut self, ended: Result<(ServiceName, HookStatus), JoinError>) {
        let (name, status) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if let Some(state) = self.services.get_mut(&name) {
            state.is_running = false;
        }
        let HookStatus { hook, ok, detail, .. } = &status;
        match ok {
            Some(true) => info!("{name}: {hook}: {detail}"),
            _ => warn!("{name}: {hook}: {detail}"),
        }
        // A daemon that stops takes no requests.
        if self.readiness.borrow().node != Some(NotReady::Stopping) {
            let _ = self.requests.send(Request::HookEnded(name, status)).await;
        }
    }
}

fn status(ready: bool, ProbeOutcome { verdict, detail, took }: ProbeOutcome, at: Timestamp) -> HookStatus {
    let ok = match verdict {
        ProbeResult::Success => Some(true),
        ProbeResult::Failure => Some(false),
        ProbeResult::Skipped => None,
    };
    let hook = if ready { "on_ready" } else { "on_unready" };
    HookStatus { hook: hook.to_owned(), ok, at, took_ms: took.as_secs_f64() * 1e3, detail }
}
