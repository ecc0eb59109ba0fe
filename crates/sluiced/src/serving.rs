//! Who serves changes while the file does not: by health, by what operators say, and with time.

use std::collections::BTreeSet;

use sluice_core::flows::Forget;
use sluice_core::model::{BackendKey, InForce, Initial, OnDown, ProbeTarget, Service, ServiceName, Services};
use sluice_core::transition::Transition;
use sluice_nft::Dataplane;
use sluice_probe::Watch;
use tokio::time::sleep_until;

use crate::clock::now;
use crate::daemon::Daemon;
use crate::reconcile::Trigger;
use crate::standing::key;

impl<D: Dataplane> Daemon<D> {
    /// Has the backends of the file probed, and notes which are not up from the beginning.
    pub(crate) fn watch(&mut self) {
        let wanted =
            self.config.services.iter().filter(|(_, service)| service.enabled).flat_map(|(name, service)| {
                let watch = move |backend| {
                    let check = service.health.clone()?;
                    // Echo requests and programs may do without a port.
                    let port = service.probe_port(backend).unwrap_or(0);
                    let target = ProbeTarget { address: backend.address, port };
                    Some(Watch { key: key(name, backend), target, check, known: Default::default() })
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

    /// Waits until the health of a backend changes.
    pub(crate) async fn health_changes(&self) {
        self.prober.board().changed().await;
    }

    /// Has new flows follow the health of backends.
    pub(crate) async fn health(&mut self) {
        let (mut services, mut forget) = (BTreeSet::new(), vec![]);
        for key in self.prober.board().take_changes() {
            let Some(report) = self.prober.board().report(&key) else { continue };
            self.since.mark(key.clone(), now());
            let Some((name, service)) = self.config.services.get_key_value(&key.service) else { continue };
            if !self.standings.set_up(&key, report.is_up) {
                continue;
            }
            services.insert(name.clone());
            if report.is_up {
                self.standings.begin_ramp(service, &key);
            } else {
                forget.extend(flows(service, &key, service.on_down == OnDown::Reset));
            }
        }
        self.follow(Trigger::Health, &services).await;
        self.flows.forget(forget);
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
        self.follow(Trigger::Load, &ramping).await;
    }

    /// Makes the kernel equal to how some services serve now.
    pub(crate) async fn follow(&mut self, trigger: Trigger, names: &BTreeSet<ServiceName>) {
        let file = &self.config.services;
        let changed = self.standings.changed(file, names);
        if changed.is_empty() {
            return;
        }
        let opened = opened(self.standings.in_force(file), &changed);
        let transition = Transition::of_some(self.standings.in_force(file), &changed);
        let result = self.reconciler.round(trigger, &transition).await;
        // Whatever came of it, this is what is wanted from now on: a retry makes the kernel so.
        self.standings.accept(&self.config.services, changed);
        // Logged and kept for the status there; nobody waits for it.
        let _ = self.settle(result);
        self.flows.forget(opened);
        let line = self.line();
        self.notify.status(&line);
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
fn flows(service: &Service, key: &BackendKey, reset: bool) -> Vec<Forget> {
    let backend = service.backends.iter().find(|backend| backend.name == key.backend);
    backend.into_iter().flat_map(|backend| Forget::backend(service, backend, reset)).collect()
}
