//! Who serves changes while the file does not: by health, by what operators say, and with time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use sluice_api::{EventKind, Severity};
use sluice_core::flows::Forget;
use sluice_core::health::Health;
use sluice_core::model::{
    Backend, BackendKey, BackendName, InForce, Initial, OnDown, ProbeTarget, Service, ServiceName, Services,
};
use sluice_core::transition::{Difference, Transition};
use sluice_nft::Dataplane;
use sluice_probe::{Report, Watch};
use tokio::time::sleep_until;
use tracing::warn;

use crate::clock::now;
use crate::daemon::Daemon;
use crate::fatal::chain;
use crate::reconcile::Trigger;
use crate::remembered::{Known, Remembered, Said};
use crate::standing::key;
use crate::state::FileError;

impl<D: Dataplane> Daemon<D> {
    /// Has the backends of the file probed, and notes which are not up from the beginning.
    pub(crate) fn watch(&mut self, remembered: &[Known]) {
        let known: HashMap<_, _> =
            remembered.iter().map(|known| ((&*known.service, &*known.backend), known)).collect();
        let wanted =
            self.config.services.iter().filter(|(_, service)| service.enabled).flat_map(|(name, service)| {
                let known = &known;
                let watch = move |backend: &Backend| {
                    let check = service.health.clone()?;
                    // Echo requests and programs may do without a port.
                    let port = service.probe_port(backend).unwrap_or(0);
                    let target = ProbeTarget { address: backend.address, port };
                    let known = known.get(&(name.as_str(), backend.name.as_str()));
                    let known = match known
                        .filter(|known| known.target == SocketAddr::new(target.address, target.port))
                    {
                        None => Health::Unknown,
                        Some(Known { healthy: true, .. }) => Health::Healthy,
                        Some(Known { healthy: false, .. }) => Health::Unhealthy,
                    };
                    Some(Watch { key: key(name, backend), target, check, known })
                };
                service.backends.iter().filter_map(watch)
            });
        let wanted: Vec<Watch> = wanted.collect();
        let keys: Vec<BackendKey> = wanted.iter().map(|watch| watch.key.clone()).collect();
        self.prober.watch(wanted);
        for key in keys {
            let is_up = self.prober.board().report(&key).is_none_or(|report| report.is_up);
            self.standings.set_up(&key, is_up);
        }
    }

    /// Notes which backends of another file are not up before their first probe.
    pub(crate) fn expect_down(&mut self, services: &Services) {
        let is_down =
            |service: &Service| service.health.as_ref().is_some_and(|check| check.initial == Initial::Down);
        for (name, service) in services.iter().filter(|(_, service)| is_down(service)) {
            for key in service.backends.iter().map(|backend| key(name, backend)) {
                if self.prober.board().report(&key).is_none() {
                    self.standings.set_up(&key, false);
                }
            }
        }
    }

    /// Goes on where an earlier daemon was.
    pub(crate) fn recall(&mut self, remembered: &Remembered) {
        for Said { service, backend, said } in &remembered.overrides {
            if let (Ok(service), Ok(backend)) = (ServiceName::new(service), BackendName::new(backend)) {
                self.standings.overrides.insert(BackendKey { service, backend }, said.clone());
            }
        }
        self.watch(&remembered.health);
    }

    /// Writes down what the next daemon has to know. A failure is logged and returned: what is in force matters more.
    pub(crate) fn remember(&mut self) -> Result<(), FileError> {
        let said = self.standings.overrides.iter().map(|(key, said)| Said {
            service: key.service.to_string(),
            backend: key.backend.to_string(),
            said: said.clone(),
        });
        let said = said.collect();
        let health = self.prober.board().known().into_iter().map(|(key, target, healthy)| Known {
            service: key.service.to_string(),
            backend: key.backend.to_string(),
            target: SocketAddr::new(target.address, target.port),
            healthy,
        });
        let health = health.collect();
        self.memory.save(said, health).inspect_err(|error| {
            warn!("{} (a restart will not know what is said of backends, nor their health)", chain(error));
        })
    }

    /// Waits until the health of a backend changes.
    pub(crate) async fn health_changes(&self) {
        self.prober.board().changed().await;
    }

    /// Has new flows follow the health of backends.
    pub(crate) async fn health(&mut self) {
        let (mut services, mut forget, mut spare) = (BTreeSet::new(), vec![], vec![]);
        for key in self.prober.board().take_changes() {
            let Some(report) = self.prober.board().report(&key) else { continue };
            self.since.mark(key.clone(), now());
            self.note_health(&key, &report);
            let Some((name, service)) = self.config.services.get_key_value(&key.service) else { continue };
            if !self.standings.set_up(&key, report.is_up) {
                continue;
            }
            services.insert(name.clone());
            let flows = flows(service, &key, service.on_down == OnDown::Reset);
            if report.is_up {
                self.standings.begin_ramp(service, &key);
                spare.extend(flows);
            } else {
                forget.extend(flows);
            }
        }
        // Before they get new flows.
        self.flows.spare(spare);
        // Logged and kept for the status there; nobody waits for it.
        let _ = self.follow(Trigger::Health, &services).await;
        self.flows.forget(forget);
        let _ = self.remember();
    }

    fn note_health(&mut self, key: &BackendKey, report: &Report) {
        let (word, severity) = match report.health {
            Health::Healthy => ("healthy", Severity::Info),
            Health::Unhealthy => ("unhealthy", Severity::Error),
            Health::Unknown => return,
        };
        let why = report.last.as_ref().map(|last| format!(": {}", last.detail)).unwrap_or_default();
        self.events.of(key, EventKind::Health, severity, format!("{word}{why}"));
    }

    /// Waits until a backend that came back gets more of its share.
    pub(crate) async fn step_is_due(&self) {
        match self.standings.next_step(&self.config.services) {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Gives it to those that are due.
    pub(crate) async fn step(&mut self) {
        let ramping = self.standings.ramping();
        self.standings.end_ramps(&self.config.services);
        // As above.
        let _ = self.follow(Trigger::Load, &ramping).await;
    }

    /// Makes the kernel equal to how some services serve now. Returns what went wrong, one line each.
    pub(crate) async fn follow(
        &mut self,
        trigger: Trigger,
        names: &BTreeSet<ServiceName>,
    ) -> Result<(), Vec<String>> {
        let file = &self.config.services;
        let changed = self.standings.changed(file, names);
        if changed.is_empty() {
            return Ok(());
        }
        let opened = opened(self.standings.in_force(file), &changed);
        let transition = Transition::of_some(self.standings.in_force(file), &changed);
        let result = self.reconciler.round(trigger, &transition).await;
        // Whatever came of it, this is what is wanted from now on: a retry makes the kernel so.
        self.standings.accept(&self.config.services, changed);
        let settled = self.settle(result);
        self.flows.forget(opened);
        let line = self.line();
        self.notify.status(&line);
        settled.map(drop)
    }
}

/// Flows to services whose pool becomes empty or stops being so: no rule of ours may have met them.
fn opened(held: InForce<'_>, changed: &Services) -> Vec<Forget> {
    let is_empty = |service: &Service| service.backends.iter().all(|backend| backend.weight == 0);
    let turned =
        changed.iter().filter(|(name, now)| held.get(name).is_some_and(|was| is_empty(was) != is_empty(now)));
    turned.flat_map(|(_, service)| Forget::untranslated(service)).collect()
}

/// Flows of a service to one of its backends.
pub(crate) fn flows(service: &Service, key: &BackendKey, reset: bool) -> Vec<Forget> {
    let backend = service.backends.iter().find(|backend| backend.name == key.backend);
    backend.into_iter().flat_map(|backend| Forget::backend(service, backend, reset)).collect()
}

/// Flows that met a listener before it was one.
pub(crate) fn met((_, before, after): Difference<'_>) -> Vec<Forget> {
    let (old, new) = (before.filter(|service| service.enabled), after.filter(|service| service.enabled));
    let came = new.filter(|new| old.is_none_or(|old| old.listeners != new.listeners));
    came.into_iter().flat_map(Forget::untranslated).collect()
}

/// Flows to backends that are not where they were, and to those that are new there.
pub(crate) fn moved(transition: &Transition<'_>) -> (Vec<Forget>, Vec<Forget>) {
    let flows = |of: &dyn Fn(Difference<'_>) -> Option<Vec<Forget>>| -> HashSet<Forget> {
        transition.differences().filter_map(of).flatten().collect()
    };
    let all = |service: Option<&Service>| {
        service.filter(|service| service.enabled).map(|service| Forget::service(service).collect())
    };
    let (old, new) = (flows(&|(_, before, _)| all(before)), flows(&|(_, _, after)| all(after)));
    (old.difference(&new).cloned().collect(), new.difference(&old).cloned().collect())
}
