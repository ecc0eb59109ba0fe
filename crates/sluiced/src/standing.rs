//! How backends stand, and the services as they serve because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_api::{Admin as Said, Override};
use sluice_core::balance::{Balance, Load};
use sluice_core::health::Admin;
use sluice_core::model::{
    Backend, BackendKey, BackendName, InForce, Networks, Scheduler, Service, ServiceName, Services,
};
use sluice_core::pool::{self, RAMP_STEPS, Standing};
use tokio::time::Instant;

/// What keeps backends from what the file says of them. Most stand as they should, and those take no room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings {
    /// What operators said.
    pub(crate) overrides: BTreeMap<BackendKey, Override>,
    /// Those whose health keeps them from new flows.
    down: BTreeSet<BackendKey>,
    /// Those that came back, and when.
    back: BTreeMap<BackendKey, Instant>,
    /// Those that have as many live flows as they may.
    full: BTreeSet<BackendKey>,
    /// Shares that follow flows.
    balances: BTreeMap<ServiceName, Balance>,
    /// Services that do not serve as the file says.
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
    pub(crate) fn of(&self, service: &Service, key: &BackendKey) -> Standing {
        let overridden = self.overrides.get(key);
        Standing {
            admin: overridden.map(admin).unwrap_or_default(),
            weight: overridden.and_then(|said| said.weight),
            is_up: service.health.is_none() || !self.down.contains(key),
            is_full: self.full.contains(key) && is_limited(service, key),
            ramp: self.ramp(service, key),
        }
    }

    /// Notes whether health lets a backend take new flows; `true` if that is news.
    pub(crate) fn set_up(&mut self, key: &BackendKey, is_up: bool) -> bool {
        if is_up { self.down.remove(key) } else { self.down.insert(key.clone()) }
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

    /// Has a backend that can take new flows again begin with a small share, if its service wants that.
    pub(crate) fn begin_ramp(&mut self, service: &Service, key: &BackendKey) {
        if service.slow_start.is_some() {
            self.back.insert(key.clone(), Instant::now());
        }
    }

    /// Steps that a backend has come since it is back.
    fn ramp(&self, service: &Service, key: &BackendKey) -> u8 {
        let (Some(back), Some(whole)) = (self.back.get(key), service.slow_start) else { return RAMP_STEPS };
        let steps = back.elapsed().as_secs_f64() / whole.as_secs_f64() * f64::from(RAMP_STEPS);
        1 + steps.min(f64::from(RAMP_STEPS - 1)) as u8
    }

    /// When the next step of any backend is due.
    pub(crate) fn next_step(&self, file: &Services) -> Option<Instant> {
        let steps = self.back.iter().filter_map(|(key, back)| {
            let service = file.get(&key.service)?;
            let step = service.slow_start? / u32::from(RAMP_STEPS);
            let done = u32::from(self.ramp(service, key));
            Some(*back + step * done + Duration::from_millis(1))
        });
        steps.min()
    }

    /// Services of backends that came back just now.
    pub(crate) fn ramping(&self) -> BTreeSet<ServiceName> {
        self.back.keys().map(|key| key.service.clone()).collect()
    }

    /// Services with a backend that health keeps from new flows.
    pub(crate) fn held_back(&self) -> BTreeSet<ServiceName> {
        self.down.iter().map(|key| key.service.clone()).collect()
    }

    /// Forgets those that have come all the way.
    pub(crate) fn end_ramps(&mut self, file: &Services) {
        let ended: Vec<BackendKey> = self
            .back
            .keys()
            .filter(|key| file.get(&key.service).is_none_or(|service| self.ramp(service, key) >= RAMP_STEPS))
            .cloned()
            .collect();
        self.back.retain(|key, _| !ended.contains(key));
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
        pool::in_force(service, |backend| self.of(service, &key(name, backend)))
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

    /// Services of another file that do not serve as it says.
    pub(crate) fn instead(&self, file: &Services) -> Services {
        let is_plain = self.overrides.is_empty()
            && self.down.is_empty()
            && self.full.is_empty()
            && self.balances.is_empty();
        let file = file.iter().filter(|(_, service)| {
            !is_plain || service.quorum > 1 || service.backends.iter().any(|backend| backend.backup)
        });
        let serving = file.map(|(name, service)| (name, service, self.serving(name, service)));
        let other = serving.filter(|(_, service, serving)| *service != serving);
        other.map(|(name, _, serving)| (name.clone(), serving)).collect()
    }

    /// Takes over another file. What was said of backends that are not in it is dropped; returns those.
    pub(crate) fn replace(&mut self, file: &Services, instead: Services) -> Vec<BackendKey> {
        self.instead = instead;
        let is_there = |key: &BackendKey| {
            file.get(&key.service).is_some_and(|s| s.backends.iter().any(|b| b.name == key.backend))
        };
        self.down.retain(|key| is_there(key) && file[&key.service].health.is_some());
        self.back.retain(|key, _| is_there(key));
        self.full.retain(|key| is_there(key) && is_limited(&file[&key.service], key));
        self.balances.retain(|name, _| file.get(name).is_some_and(follows_load));
        let gone: Vec<_> = self.overrides.keys().filter(|key| !is_there(key)).cloned().collect();
        self.overrides.retain(|key, _| is_there(key));
        gone
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
