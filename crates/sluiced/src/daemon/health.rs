//! Changes of the effective services without a change of the file: health, overrides, slow start.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;

use sluice_api::{EventKind, Override, Severity};
use sluice_core::model::Transition;
use sluice_core::model::{Backend, BackendKey, BackendName, MAX_WEIGHT, ProbeTarget, ServiceName, Services};
use sluice_core::pool::health::Health;
use sluice_nft::{Dataplane, Ip};
use sluice_probe::{BackendHealth, Board, Down, Flip, WatchedBackend};
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tracing::warn;

use crate::daemon::Daemon;
use crate::daemon::saver::{SaveOrder, Saved};
use crate::host::clock::now;
use crate::pool::backend_states::{BackendStates, key};
use crate::pool::identity::Identity;
use crate::pool::quorums::Quorums;
use crate::reconcile::Trigger;
use crate::state::backends::{SavedHealth, SavedOverride, SavedQuorum, SavedState};
use crate::status::shared::Shared;

impl<D: Dataplane> Daemon<D> {
    /// Starts and stops probes for the services in force.
    pub(crate) fn watch(&mut self, watches: Vec<WatchedBackend>) {
        self.prober.watch(watches);
        self.backend_states.down = self.prober.board().down();
    }

    /// Restores the state of an earlier daemon. `before` are its services; `None`: only the names of
    /// their backends are known, and matched with those of the file.
    pub(crate) fn restore(&mut self, saved: &SavedState, before: Option<&Services>) {
        let services = self.config.services.clone();
        let before = before.unwrap_or(&services);
        let identity = Identity::between(before, &services);
        let named = |service: &str, backend: &str| {
            let (service, backend) = (ServiceName::new(service).ok()?, BackendName::new(backend).ok()?);
            Some(BackendKey { service, backend })
        };
        let health: HashMap<_, _> = saved
            .health
            .iter()
            .filter_map(|known| Some((named(&known.service, &known.backend)?, known)))
            .collect();
        let known = |name: &ServiceName, backend: &Backend| {
            if health.is_empty() {
                return Health::Unknown;
            }
            let known = identity.health(name, backend).and_then(|key| health.get(&key));
            // The port of its probe may have changed.
            match known.filter(|known| known.target.ip() == backend.address) {
                None => Health::Unknown,
                Some(SavedHealth { healthy: true, .. }) => Health::Healthy,
                Some(SavedHealth { healthy: false, .. }) => Health::Unhealthy,
            }
        };
        self.prober.watch(watches(&services, |_, _| None, |_| false, known));
        let overrides = saved.overrides.iter().filter_map(|SavedOverride { service, backend, value }| {
            let weight = value.weight.map(|weight| weight.min(MAX_WEIGHT));
            Some((named(service, backend)?, Override { weight, ..value.clone() }))
        });
        let mut was = BackendStates::new(self.backend_states.networks.clone());
        was.overrides = overrides.collect();
        let met = saved.quorums.iter().filter_map(|SavedQuorum { service, version }| {
            let ip = Ip::ALL.into_iter().find(|ip| number(*ip) == *version)?;
            Some((ServiceName::new(service).ok()?, ip))
        });
        was.quorums = Quorums::restored(before, &met.collect());
        let (backend_states, dropped) = was.after_change(&identity, self.prober.board().down());
        dropped.iter().for_each(warn_dropped);
        self.backend_states = Shared::new(backend_states);
        self.left.clone_from(&saved.left);
    }

    /// Orders a save of the state for the next daemon. A failure is logged and retried.
    pub(crate) fn save(&mut self) {
        drop(self.order_save(false));
    }

    /// Orders a save of the state, with `retries` also after a recent failure. Returns a receiver for the result.
    pub(crate) fn order_save(&mut self, retries: bool) -> oneshot::Receiver<Saved> {
        let overrides = self.backend_states.overrides.iter().map(|(key, value)| SavedOverride {
            service: key.service.to_string(),
            backend: key.backend.to_string(),
            value: value.clone(),
        });
        let overrides = overrides.collect();
        let health = self.prober.board().known().into_iter().map(|(key, target, healthy)| SavedHealth {
            service: key.service.to_string(),
            backend: key.backend.to_string(),
            target: SocketAddr::new(target.address, target.port),
            healthy,
        });
        let health = health.collect();
        let services = self.config.services.clone();
        let quorums = self.backend_states.quorums.remembered(&services);
        let quorums = quorums
            .map(|(service, ip)| SavedQuorum { service: service.to_string(), version: number(ip) })
            .collect();
        self.save_queue
            .order(SaveOrder { services, overrides, health, quorums, left: self.left.clone() }, retries)
    }

    /// Waits until the health of a backend changes.
    pub(crate) async fn health_changes(&self) {
        self.prober.board().changed().await;
    }

    /// Applies changes of health to the kernel.
    pub(crate) async fn health(&mut self) {
        let services = self.take_health_changes();
        // The error was logged and is kept for the status; no client waits for it.
        let _ = self.apply_effective(Trigger::Health, &services).await;
        self.save();
    }

    /// Waits for something slow that the ruleset does not depend on, and applies changes of health meanwhile.
    pub(crate) async fn follow_health_until(&mut self, slow: impl Future<Output = ()>) {
        // Before the first round there is no table to change.
        if self.reconciler.rounds() == 0 {
            return slow.await;
        }
        let mut slow = pin!(slow);
        loop {
            tokio::select! {
                biased;
                () = &mut slow => return,
                () = self.health_changes() => self.health().await,
            }
        }
    }

    /// Takes changes of health from the board. Returns the services whose effective state may have changed.
    pub(crate) fn take_health_changes(&mut self) -> BTreeSet<ServiceName> {
        // Dropped first, so that the board need not copy its data.
        self.backend_states.down = Down::default();
        let flips = self.prober.board().take_changes();
        self.backend_states.down = self.prober.board().down();
        let mut services = BTreeSet::new();
        for (key, Flip { was_up, .. }) in flips {
            let Some(report) = self.prober.board().report(&key) else { continue };
            self.since.record(key.clone(), now());
            self.note_health(&key, &report);
            let Some((name, service)) = self.config.services.get_key_value(&key.service) else { continue };
            services.insert(name.clone());
            self.backend_states.update_ramp(service, &key, was_up);
        }
        services
    }

    fn note_health(&mut self, key: &BackendKey, report: &BackendHealth) {
        let (word, severity) = match report.health {
            Health::Healthy => ("healthy", Severity::Info),
            Health::Unhealthy => ("unhealthy", Severity::Error),
            Health::Unknown => return,
        };
        let why = report.last.as_ref().map(|last| format!(": {}", last.detail)).unwrap_or_default();
        self.events.of(key, EventKind::Health, severity, format!("{word}{why}"));
    }

    /// Waits for the next step of slow start.
    pub(crate) async fn step_is_due(&self) {
        match self.backend_states.next_step() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Applies the due steps of slow start.
    pub(crate) async fn step(&mut self) {
        let services = self.backend_states.advance_ramps();
        // The error was logged and is kept for the status; no client waits for it.
        let _ = self.apply_effective(Trigger::Load, &services).await;
    }

    /// Applies the effective state of some services to the kernel. Returns the problems, one line each.
    pub(crate) async fn apply_effective(
        &mut self,
        trigger: Trigger,
        names: impl IntoIterator<Item = &ServiceName>,
    ) -> Result<(), Vec<String>> {
        let (file, names) = (&self.config.services, names.into_iter().collect::<Vec<_>>());
        let quorums = self.backend_states.decided_quorums(file, names.iter().copied());
        if quorums != self.backend_states.quorums {
            self.backend_states.quorums = quorums;
        }
        let changed = self.backend_states.diff_effective(file, names);
        if changed.is_empty() {
            self.publish_readiness();
            // The desired state may still wait for a retry.
            return self.sync_failure.as_ref().map_or(Ok(()), |failure| Err(vec![failure.error.clone()]));
        }
        let transition = Transition::of_some(self.backend_states.effective_services(file), &changed);
        self.flows.note(&transition);
        let result = self.reconciler.round(trigger, &transition).await;
        // This is the desired state from now on even if the round failed: a retry applies it.
        self.backend_states.commit_effective(&self.config.services, changed);
        let settled = self.record_round(trigger, result);
        self.publish_readiness();
        let line = self.summary_line();
        self.notify.status(&line);
        settled.map(drop)
    }
}

/// The number of an IP version.
fn number(ip: Ip) -> u8 {
    match ip {
        Ip::V4 => 4,
        Ip::V6 => 6,
    }
}

/// The states of backends after services of a new file replace the `held` ones, the discarded overrides, and the probed
/// backends. Changes nothing.
pub(crate) fn expected(
    held: &Services,
    backend_states: &BackendStates,
    board: &Board,
    new: &Services,
) -> (BackendStates, Vec<BackendKey>, Vec<WatchedBackend>) {
    let identity = Identity::between(held, new);
    let from = |name: &ServiceName, backend: &Backend| identity.health(name, backend);
    let served = |key: &BackendKey| {
        let before = held.get(&key.service);
        before.is_some_and(|service| service.enabled && service.health.is_none())
    };
    let watches = watches(new, from, served, |_, _| Health::Unknown);
    let (expected, dropped) = backend_states.after_change(&identity, board.preview(&watches));
    (expected, dropped, watches)
}

/// The probed backends of a file, with their checks. `from` maps backends to those of the previous file, `served`
/// tells whether one took new flows without a probe, and `known` is the health that an earlier daemon saved.
pub(crate) fn watches(
    file: &Services,
    from: impl Fn(&ServiceName, &Backend) -> Option<BackendKey>,
    served: impl Fn(&BackendKey) -> bool,
    known: impl Fn(&ServiceName, &Backend) -> Health,
) -> Vec<WatchedBackend> {
    let mut watches = vec![];
    for (name, service) in file.iter().filter(|(_, service)| service.enabled) {
        let Some(check) = &service.health else { continue };
        for backend in &service.backends {
            // Echo requests and programs may need no port.
            let port = service.probe_port(backend).unwrap_or(0);
            let target = ProbeTarget { address: backend.address, port };
            let known = known(name, backend);
            let from = from(name, backend);
            let served = from.as_ref().is_some_and(&served);
            let (key, check) = (key(name, backend), check.clone());
            watches.push(WatchedBackend { key, target, check, from, served, known });
        }
    }
    watches
}

/// Logs that an override is discarded.
pub(crate) fn warn_dropped(key: &BackendKey) {
    warn!("discarded override of {}/{}: the backend is no longer configured", key.service, key.backend);
}
