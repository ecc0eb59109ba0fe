//! [`BackendStates`]: what differs from the file at run time, and the effective services that follow from it.
//!
//! The reconcile task owns and changes it; readers get shared copies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_api::{Admin as ApiAdmin, Override};
use sluice_core::model::{
    Backend, BackendKey, BackendName, EffectiveServices, Networks, Scheduler, Service, ServiceName, Services,
};
use sluice_core::pool::balance::{Balance, Load};
use sluice_core::pool::health::{Admin, Health};
use sluice_core::pool::readiness::Tally;
use sluice_core::pool::{self, BackendState};
use sluice_nft::Ip;
use sluice_probe::Down;
use tokio::time::Instant;

use crate::pool::identity::Identity;
use crate::pool::quorums::Quorums;
use crate::pool::ramps::Ramps;

/// Run-time states of backends. Only backends whose state differs from the default have entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackendStates {
    /// Overrides by operators.
    pub(crate) overrides: BTreeMap<BackendKey, Override>,
    /// Backends that get no new flows because of their health, as last read from the board.
    pub(crate) down: Down,
    /// Backends in slow start.
    ramps: Ramps,
    /// Backends that have reached `max_connections`.
    full: BTreeSet<BackendKey>,
    /// The quorums of services, as last decided.
    pub(crate) quorums: Quorums,
    /// Shares of services with `least-connections`.
    balances: BTreeMap<ServiceName, Balance>,
    /// Effective services that differ from the file. The kernel was last made equal to them.
    overlay: Services,
    /// Networks of the host.
    pub(crate) networks: Networks,
}

impl BackendStates {
    /// States without a difference from the file, on a host in these networks.
    pub(crate) fn new(networks: Networks) -> Self {
        BackendStates { networks, ..BackendStates::default() }
    }

    /// The effective services.
    pub(crate) fn effective_services<'a>(&'a self, file: &'a Services) -> EffectiveServices<'a> {
        EffectiveServices::new(file, &self.overlay).with_networks(&self.networks)
    }

    /// The state of one backend.
    pub(crate) fn of(&self, key: &BackendKey) -> BackendState {
        let set = self.overrides.get(key);
        BackendState {
            admin: set.map(admin).unwrap_or_default(),
            weight: set.and_then(|set| set.weight),
            is_up: !self.down.contains_key(key),
            is_unhealthy: self.down.get(key) == Some(&Health::Unhealthy),
            is_full: self.full.contains(key),
            ramp: self.ramps.steps(key),
        }
    }

    /// Whether health, weight and overrides of a backend allow new flows. Its pool may still be disabled or prefer others.
    pub(crate) fn takes_new_flows(&self, service: &Service, key: &BackendKey) -> bool {
        let standing = self.of(key);
        let backend = service.backends.iter().find(|backend| backend.name == key.backend);
        let has_weight = backend.is_some_and(|backend| standing.weight(backend) > 0);
        service.enabled && standing.is_eligible() && has_weight
    }

    /// Starts the ramp of a backend that takes new flows again, if its service has `slow_start`, and ends the ramp of a
    /// backend that does not. `took`: whether it took new flows before.
    pub(crate) fn update_ramp(&mut self, service: &Service, key: &BackendKey, took: bool) {
        match (took, self.takes_new_flows(service, key), service.slow_start) {
            (false, true, Some(length)) => self.ramps.begin(key, length, Instant::now()),
            (_, false, _) => self.ramps.end(key),
            _ => {}
        }
    }

    /// Time of the next step of any ramp.
    pub(crate) fn next_step(&self) -> Option<Instant> {
        self.ramps.next()
    }

    /// Advances the ramps whose next step is due. Returns the services of their backends.
    pub(crate) fn advance_ramps(&mut self) -> BTreeSet<ServiceName> {
        self.ramps.advance(Instant::now())
    }

    /// Records whether a backend has reached `max_connections`. Returns whether that changed.
    pub(crate) fn set_full(&mut self, key: &BackendKey, is_full: bool) -> bool {
        if is_full { self.full.insert(key.clone()) } else { self.full.remove(key) }
    }

    /// Adapts the shares of a service to its live flows. Returns the number of misplaced flows if shares change, else 0.
    pub(crate) fn balance(
        &mut self,
        name: &ServiceName,
        service: &Service,
        load: impl Fn(&BackendName) -> Load,
        elapsed: Duration,
    ) -> u32 {
        let by_weight = self.by_weight(name, service);
        self.balances.entry(name.clone()).or_default().observe(&by_weight, load, elapsed)
    }

    /// The effective service in these states.
    fn effective(&self, name: &ServiceName, service: &Service) -> Service {
        let mut effective = self.by_weight(name, service);
        if let Some(balance) = self.balances.get(name).filter(|_| follows_load(service)) {
            balance.apply(&mut effective);
        }
        effective
    }

    /// The effective service without the adaptation of shares to live flows.
    fn by_weight(&self, name: &ServiceName, service: &Service) -> Service {
        let was_met = |ip| self.quorums.was_met(name, ip);
        pool::effective_service(service, |backend| self.of(&key(name, backend)), was_met)
    }

    /// The backends of a service that count for its quorum.
    fn tally(&self, name: &ServiceName, service: &Service, ip: Ip) -> Tally {
        Tally::of(ip, service.backends.iter().map(|backend| (backend, self.of(&key(name, backend)))))
    }

    /// The quorums after a change of the states of some services.
    pub(crate) fn decided_quorums<'a>(
        &self,
        file: &Services,
        names: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Quorums {
        let mut quorums = self.quorums.clone();
        for name in names {
            let Some(service) = file.get(name) else { continue };
            let was_met = |ip| self.quorums.was_met(name, ip);
            quorums.decide(name, service, was_met, |ip| self.tally(name, service, ip));
        }
        quorums
    }

    /// The effective services among these that differ from what the kernel was last made equal to.
    pub(crate) fn diff_effective<'a>(
        &self,
        file: &Services,
        names: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Services {
        let held = self.effective_services(file);
        let now = names.into_iter().filter_map(|name| {
            let effective = self.effective(name, file.get(name)?);
            (held.get(name) != Some(&effective)).then(|| (name.clone(), effective))
        });
        now.collect()
    }

    /// Records effective services that the kernel was made equal to.
    pub(crate) fn commit_effective(&mut self, file: &Services, changed: Services) {
        for (name, service) in changed {
            match file.get(&name) == Some(&service) {
                true => drop(self.overlay.remove(&name)),
                false => drop(self.overlay.insert(name, service)),
            }
        }
    }

    /// The effective services in these states that differ from the file.
    fn overlay(&self, file: &Services) -> Services {
        let effective = file.iter().map(|(name, service)| (name, service, self.effective(name, service)));
        let other = effective.filter(|(_, service, effective)| *service != effective);
        other.map(|(name, _, effective)| (name.clone(), effective)).collect()
    }

    /// Computes the overlay of all services of a file.
    fn update_overlay(&mut self, file: &Services) {
        self.overlay = self.overlay(file);
    }

    /// The states after a change to another file with this health, and the overrides of removed backends. Changes nothing.
    pub(crate) fn after_change(
        &self,
        identity: &Identity<'_>,
        down: Down,
    ) -> (BackendStates, Vec<BackendKey>) {
        let (old, new) = identity.files();
        let mut after = BackendStates { down, ..BackendStates::new(self.networks.clone()) };
        let mut gone: BTreeSet<&BackendKey> = self.overrides.keys().collect();
        for (name, service) in new {
            let balance = identity.service(name).and_then(|from| self.balances.get(from));
            if let Some(balance) = balance.filter(|_| follows_load(service)) {
                after.balances.insert(name.clone(), balance.clone());
            }
            for backend in &service.backends {
                let Some(from) = identity.settings(name, backend) else { continue };
                let key = key(name, backend);
                if let Some(set) = self.overrides.get(&from) {
                    gone.remove(&from);
                    after.overrides.insert(key.clone(), set.clone());
                }
                if self.full.contains(&from) && is_limited(service, &key) {
                    after.full.insert(key.clone());
                }
                let (Some(length), Some(before)) = (service.slow_start, old.get(&from.service)) else {
                    continue;
                };
                after.ramps.resume(key.clone(), (&self.ramps, &from), length);
                // Backends of a service that was disabled start without a ramp.
                after.update_ramp(service, &key, !before.enabled || self.takes_new_flows(before, &from));
            }
        }
        let mut quorums = Quorums::default();
        for (name, service) in new {
            let was_met = |ip| self.quorums.former(identity, name, ip);
            quorums.decide(name, service, was_met, |ip| after.tally(name, service, ip));
        }
        after.quorums = quorums;
        after.update_overlay(new);
        (after, gone.into_iter().cloned().collect())
    }
}

/// Whether the shares of a service follow its live flows.
pub(crate) fn follows_load(service: &Service) -> bool {
    service.enabled && service.scheduler == Scheduler::LeastConnections
}

/// Whether a backend has `max_connections`.
fn is_limited(service: &Service, key: &BackendKey) -> bool {
    service.backends.iter().any(|backend| backend.name == key.backend && backend.max_connections.is_some())
}

/// The admin state of an override.
fn admin(set: &Override) -> Admin {
    match set.admin {
        None | Some(ApiAdmin::Enabled) => Admin::Enabled,
        Some(ApiAdmin::Drain) => Admin::Drain,
        Some(ApiAdmin::Disabled) => Admin::Disabled,
    }
}

/// The key of a backend of a service.
pub(crate) fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}
