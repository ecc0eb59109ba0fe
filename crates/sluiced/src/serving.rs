//! Who serves changes while the file does not: by health, by what operators say, and with time.

use std::collections::{BTreeSet, HashMap};

use sluice_api::{Admin, BackendStatus, Change, ErrorReply, Override, OverrideRequest};
use sluice_core::flows::Forget;
use sluice_core::health::Health;
use sluice_core::model::{
    Backend, BackendKey, BackendName, InForce, Initial, MAX_WEIGHT, OnDown, ProbeTarget, Service,
    ServiceName, Services,
};
use sluice_core::transition::Transition;
use sluice_nft::Dataplane;
use sluice_probe::Watch;
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::clock::now;
use crate::daemon::Daemon;
use crate::reconcile::Trigger;
use crate::remembered::{Known, Remembered, Said};
use crate::standing::key;

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
                    let known = match known.filter(|known| known.address == target.address.to_string()) {
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

    /// Writes down what the next daemon has to know. A failure is logged: what is in force matters more.
    pub(crate) fn remember(&mut self) {
        let said = self.standings.overrides.iter().map(|(key, said)| Said {
            service: key.service.to_string(),
            backend: key.backend.to_string(),
            said: said.clone(),
        });
        let said = said.collect();
        let health = self.config.services.iter().flat_map(|(name, service)| {
            let initial = service.health.as_ref().map(|check| check.initial);
            let backends = service.backends.iter().filter(move |_| initial.is_some());
            let board = self.prober.board();
            backends.filter_map(move |backend| {
                let report = board.report(&key(name, backend))?;
                let is_news =
                    report.health != Health::Unknown && report.is_up != (initial == Some(Initial::Up));
                is_news.then(|| Known {
                    service: name.to_string(),
                    backend: backend.name.to_string(),
                    address: backend.address.to_string(),
                    healthy: report.is_up,
                })
            })
        });
        let health = health.collect();
        if let Err(error) = self.memory.save(said, health) {
            warn!("write down the state of backends: {error} (a restart will not know it)");
        }
    }

    /// Does what an operator says of a backend.
    pub(crate) async fn set_override(
        &mut self,
        request: OverrideRequest,
        uid: u32,
    ) -> Result<BackendStatus, ErrorReply> {
        let OverrideRequest { service, backend, change } = request;
        let refuse = |error: String| {
            let hint = "`sluice status` shows all services and backends".to_owned();
            ErrorReply { error, hint }
        };
        let name = ServiceName::new(&service).ok();
        let found = name.and_then(|name| self.config.services.get_key_value(&name));
        let (name, found) = found.ok_or_else(|| refuse(format!("no service {service}")))?;
        let is_it = |b: &&Backend| b.name.as_str() == backend;
        let found = found.backends.iter().find(is_it);
        let found = found.ok_or_else(|| refuse(format!("service {service} has no backend {backend}")))?;
        let (name, key) = (name.clone(), key(name, found));
        if matches!(change, Change::Weight(Some(weight)) if weight > MAX_WEIGHT) {
            return Err(refuse(format!("a weight is at most {MAX_WEIGHT}")));
        }
        let none = Override { admin: None, weight: None, uid, since: now() };
        let said = self.standings.overrides.remove(&key).unwrap_or(none);
        let said = match change {
            Change::Admin(admin) => Override { admin: Some(admin).filter(|a| *a != Admin::Enabled), ..said },
            Change::Weight(weight) => Override { weight, ..said },
        };
        info!("uid {uid} says of {}/{}: {change:?}", key.service, key.backend);
        if said.admin.is_some() || said.weight.is_some() {
            self.standings.overrides.insert(key.clone(), Override { uid, since: now(), ..said });
        }
        self.since.mark(key.clone(), now());
        self.remember();
        let service = &self.config.services[&name];
        if change == Change::Admin(Admin::Enabled) {
            self.standings.begin_ramp(service, &key);
        }
        self.follow(Trigger::Operator, &BTreeSet::from([name.clone()])).await;
        let service = &self.config.services[&name];
        if change == Change::Admin(Admin::Disabled) {
            self.flows.forget(flows(service, &key, false));
        }
        let status = self.status().services.into_iter().find(|status| status.name == name.as_str());
        let status = status.and_then(|s| s.backends.into_iter().find(|b| b.name == key.backend.as_str()));
        status.ok_or_else(|| refuse(format!("service {name} has no backend {}", key.backend)))
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
        self.remember();
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
