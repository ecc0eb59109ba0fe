//! How backends stand, and the services as they serve because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_api::{Admin as Said, Override};
use sluice_core::balance::{Balance, Load};
use sluice_core::health::{Admin, Health};
use sluice_core::model::{
    Backend, BackendKey, BackendName, InForce, Networks, Scheduler, Service, ServiceName, Services,
};
use sluice_core::pool::{self, Standing};
use sluice_probe::Down;
use tokio::time::Instant;

use crate::pool::identity::Identity;
use crate::pool::ramps::Ramps;

/// What keeps backends from what the file says of them. Most stand as they should, and those take no room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings {
    /// What operators said.
    pub(crate) overrides: BTreeMap<BackendKey, Override>,
    /// Those whose health keeps them from new flows, as the board had it when this was last taken from there.
    pub(crate) down: Down,
    /// Those that get their share in steps.
    ramps: Ramps,
    /// Those that have as many live flows as they may.
    full: BTreeSet<BackendKey>,
    /// Shares that follow flows.
    balances: BTreeMap<ServiceName, Balance>,
    /// Services that do not serve as the file says: what the kernel was last made equal to.
    instead: Services,
    /// Where the host is.
    pub(crate) networks: Networks,
}

impl Standings {
    /// All as the file says, on a host in these networks.
    pub(crate) fn on(networks: Networks) -> Self {
        Standings { networks, ..Standings::default() }
    }

    /// Services as they serve.
    pub(crate) fn in_force<'a>(&'a self, file: &'a Services) -> InForce<'a> {
        InForce::new(file, &self.instead).on(&self.networks)
    }

    /// How one backend stands.
    pub(crate) fn of(&self, key: &BackendKey) -> Standing {
        let overridden = self.overrides.get(key);
        Standing {
            admin: overridden.map(admin).unwrap_or_default(),
            weight: overridden.and_then(|said| said.weight),
            is_up: !self.down.contains_key(key),
            is_unhealthy: self.down.get(key) == Some(&Health::Unhealthy),
            is_full: self.full.contains(key),
            ramp: self.ramps.steps(key),
        }
    }

    /// Whether a backend takes new flows whenever its pool serves, so far as its health, its weight and operators go.
    pub(crate) fn takes(&self, service: &Service, key: &BackendKey) -> bool {
        let standing = self.of(key);
        let backend = service.backends.iter().find(|backend| backend.name == key.backend);
        let has_weight = backend.is_some_and(|backend| standing.weight(backend) > 0);
        service.enabled && standing.is_eligible() && has_weight
    }

    /// Has a backend that was there before, and takes new flows now although it did not, begin with a small share if its
    /// service wants that. One that does not take them has no ramp.
    pub(crate) fn ramp_if_turned(&mut self, service: &Service, key: &BackendKey, took: bool) {
        match (took, self.takes(service, key), service.slow_start) {
            (false, true, Some(whole)) => self.ramps.begin(key, whole, Instant::now()),
            (_, false, _) => self.ramps.end(key),
            _ => {}
        }
    }

    /// When the next step of a backend that came back is due.
    pub(crate) fn next_step(&self) -> Option<Instant> {
        self.ramps.next()
    }

    /// Takes the steps that are due. Returns the services of those backends.
    pub(crate) fn take_steps(&mut self) -> BTreeSet<ServiceName> {
        self.ramps.advance(Instant::now())
    }

    /// Notes whether a backend has as many live flows as it may; `true` if that is news.
    pub(crate) fn set_full(&mut self, key: &BackendKey, is_full: bool) -> bool {
        if is_full { self.full.insert(key.clone()) } else { self.full.remove(key) }
    }

    /// Has the shares of a service follow its flows. Returns how many of those are misplaced, if shares change.
    pub(crate) fn balance(
        &mut self,
        name: &ServiceName,
        service: &Service,
        load: impl Fn(&BackendName) -> Load,
        elapsed: Duration,
    ) -> u32 {
        let serving = self.able(name, service);
        self.balances.entry(name.clone()).or_default().observe(&serving, load, elapsed)
    }

    /// A service as it serves now.
    fn serving(&self, name: &ServiceName, service: &Service) -> Service {
        let mut serving = self.able(name, service);
        if let Some(balance) = self.balances.get(name).filter(|_| follows_load(service)) {
            balance.apply(&mut serving);
        }
        serving
    }

    /// The same by weights alone.
    fn able(&self, name: &ServiceName, service: &Service) -> Service {
        pool::in_force(service, |backend| self.of(&key(name, backend)))
    }

    /// Those of some services that serve otherwise than they are held to.
    pub(crate) fn changed<'a>(
        &self,
        file: &Services,
        names: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Services {
        let held = self.in_force(file);
        let now = names.into_iter().filter_map(|name| {
            let serving = self.serving(name, file.get(name)?);
            (held.get(name) != Some(&serving)).then(|| (name.clone(), serving))
        });
        now.collect()
    }

    /// Takes over what serves otherwise from now on.
    pub(crate) fn accept(&mut self, file: &Services, changed: Services) {
        for (name, service) in changed {
            match file.get(&name) == Some(&service) {
                true => drop(self.instead.remove(&name)),
                false => drop(self.instead.insert(name, service)),
            }
        }
    }

    /// Services of a file that do not serve as it says, as these backends stand.
    pub(crate) fn instead(&self, file: &Services) -> Services {
        let serving = file.iter().map(|(name, service)| (name, service, self.serving(name, service)));
        let other = serving.filter(|(_, service, serving)| *service != serving);
        other.map(|(name, _, serving)| (name.clone(), serving)).collect()
    }

    /// Holds the services of a file to how they serve.
    pub(crate) fn hold(&mut self, file: &Services) {
        self.instead = self.instead(file);
    }

    /// How backends will stand once another file is in force and its health is known to be this. Changes nothing; also
    /// returns overrides whose backends will be gone.
    pub(crate) fn under(&self, identity: &Identity<'_>, down: Down) -> (Standings, Vec<BackendKey>) {
        let (old, new) = identity.files();
        let mut after = Standings { down, ..Standings::on(self.networks.clone()) };
        let mut gone: BTreeSet<&BackendKey> = self.overrides.keys().collect();
        for (name, service) in new {
            let balance = identity.service(name).and_then(|from| self.balances.get(from));
            if let Some(balance) = balance.filter(|_| follows_load(service)) {
                after.balances.insert(name.clone(), balance.clone());
            }
            for backend in &service.backends {
                let Some(from) = identity.settings(name, backend) else { continue };
                let key = key(name, backend);
                if let Some(said) = self.overrides.get(&from) {
                    gone.remove(&from);
                    after.overrides.insert(key.clone(), said.clone());
                }
                if self.full.contains(&from) && is_limited(service, &key) {
                    after.full.insert(key.clone());
                }
                let (Some(whole), Some(before)) = (service.slow_start, old.get(&from.service)) else {
                    continue;
                };
                after.ramps.go_on(key.clone(), (&self.ramps, &from), whole);
                // Backends of a service that was disabled are new.
                after.ramp_if_turned(service, &key, !before.enabled || self.takes(before, &from));
            }
        }
        after.hold(new);
        (after, gone.into_iter().cloned().collect())
    }
}

/// Whether its shares are to follow its flows.
pub(crate) fn follows_load(service: &Service) -> bool {
    service.enabled && service.scheduler == Scheduler::LeastConnections
}

/// Whether a backend may be full.
fn is_limited(service: &Service, key: &BackendKey) -> bool {
    service.backends.iter().any(|backend| backend.name == key.backend && backend.max_connections.is_some())
}

/// Admin state that an operator wants.
fn admin(said: &Override) -> Admin {
    match said.admin {
        None | Some(Said::Enabled) => Admin::Enabled,
        Some(Said::Drain) => Admin::Drain,
        Some(Said::Disabled) => Admin::Disabled,
    }
}

/// Names a backend among all.
pub(crate) fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}
