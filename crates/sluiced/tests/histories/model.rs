//! A small model of the daemon: which backends may take traffic, and which service a packet belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_api::{Admin as ApiAdmin, BackendStatus, Health as Observed, Status};
use sluice_core::model::{
    Backend, BackendKey, Config, HealthCheck, Initial, OnEmpty, Scheduler, Service, ServiceName, Services,
};
use sluice_core::pool::health::Admin;
use sluice_core::pool::{self, BackendState, RAMP_STEPS};
use sluice_netlink::conntrack::Flow;
use tokio::time::Instant;

use crate::event::Verb;
use crate::former::{former, watched};
use crate::hosts::Found;
use crate::quorums::Quorums;

pub struct Model {
    pub config: Config,
    backends: BTreeMap<BackendKey, State>,
    pub quorums: Quorums,
    /// Whether an operator made the node leave.
    pub has_left: bool,
    /// What others put on the interface of announced addresses.
    pub foreign_addresses: BTreeSet<IpAddr>,
    /// Backends that turned, or may have, since this was last cleared.
    pub touched: BTreeSet<BackendKey>,
}

/// What is known of a backend.
#[derive(Clone, Debug)]
struct State {
    backend: Backend,
    check: Option<(Arc<HealthCheck>, u16)>,
    up: bool,
    /// Whether a probe had its say.
    known: bool,
    /// Results in a row that speak against what is so.
    against: u16,
    admin: Admin,
    weight: Option<u16>,
    back: Option<Instant>,
    /// Whether it is not known when it came back, but that it was no later, or it gets its share in another time than then.
    guessed: bool,
    /// How long it takes to get its whole share.
    whole: Option<Duration>,
}

impl State {
    /// Its check, if that is what found this.
    fn asking(&self, found: &Found) -> Option<&HealthCheck> {
        let (check, port) = self.check.as_ref()?;
        let asks_this = check.probe == found.probe
            && check.timeout == found.timeout
            && (self.backend.address, *port) == (found.target.address, found.target.port);
        asks_this.then_some(check)
    }

    /// Whether it takes new flows when its pool serves.
    fn takes(&self) -> bool {
        self.up && self.admin == Admin::Enabled && self.weight.unwrap_or(self.backend.weight) > 0
    }

    /// It did or did not take new flows before; one that does so again gets its share in steps.
    fn turn(&mut self, took: bool, now: Instant) {
        if took != self.takes() {
            self.back = self.whole.and(self.takes().then_some(now));
            self.guessed = false;
        }
    }
}

impl Model {
    pub fn new(config: Config) -> Self {
        let mut model = Model {
            config: config.clone(),
            backends: BTreeMap::new(),
            quorums: Quorums::default(),
            has_left: false,
            foreign_addresses: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        model.config.services = Arc::default();
        model.reload(config, Instant::now());
        model
    }

    pub fn services(&self) -> &Services {
        &self.config.services
    }

    /// Another file is in force.
    pub fn reload(&mut self, config: Config, now: Instant) {
        let old = std::mem::replace(&mut self.config, config);
        let before = std::mem::take(&mut self.backends);
        for (name, service) in self.config.services.iter() {
            for backend in &service.backends {
                let key = key(name, backend);
                let check = watched(service, backend);
                let verdict = check.as_ref().and_then(|check| {
                    let found = former(&old.services, &self.config.services, name, service, backend, true)?;
                    before.get(&found).filter(|state| state.check.is_some()).map(|state| (state, check))
                });
                let served = former(&old.services, &self.config.services, name, service, backend, true)
                    .and_then(|found| old.services.get(&found.service))
                    .is_some_and(|before| before.enabled && before.health.is_none());
                let (up, known, against) = match verdict {
                    Some((state, check))
                        if state.check.as_ref() == Some(check)
                            && state.backend.address == backend.address =>
                    {
                        (state.up, state.known, state.against)
                    }
                    Some((state, _)) => (state.up, state.known, 0),
                    // One that served without a check goes on until it is checked.
                    None if served => (true, false, 0),
                    None => (check.as_ref().is_none_or(|(check, _)| check.initial == Initial::Up), false, 0),
                };
                let found = former(&old.services, &self.config.services, name, service, backend, false);
                let said = found.as_ref().and_then(|found| before.get(found));
                let (admin, weight) = said.map_or((Admin::Enabled, None), |said| (said.admin, said.weight));
                let mut state = State {
                    backend: backend.clone(),
                    check,
                    up,
                    known,
                    against,
                    admin,
                    weight,
                    back: None,
                    guessed: false,
                    whole: service.slow_start,
                };
                let was_enabled =
                    |key: &BackendKey| old.services.get(&key.service).is_some_and(|it| it.enabled);
                let was_there = found.as_ref().is_some_and(was_enabled);
                if let Some(said) = said.filter(|_| was_there && service.enabled) {
                    state.back = state.whole.and(said.back);
                    state.guessed = said.guessed || said.whole != state.whole;
                    state.turn(said.takes(), now);
                }
                if said.is_none_or(|said| said.up != up) {
                    self.touched.insert(key.clone());
                }
                self.backends.insert(key, state);
            }
        }
        self.decide_all(&old.services, false);
    }

    /// A daemon starts on this file. It knows what the one before had to save: what operators said, and health that is
    /// not what is assumed without a probe. Returns whether that moved to a name that is new.
    pub fn restart(&mut self, config: Config) -> bool {
        let mut moved = false;
        let old = std::mem::replace(&mut self.config, config);
        let before = std::mem::take(&mut self.backends);
        let starts_up = |check: &Option<(Arc<HealthCheck>, u16)>| {
            check.as_ref().is_none_or(|(it, _)| it.initial == Initial::Up)
        };
        for (name, service) in self.config.services.iter() {
            for backend in &service.backends {
                let was = |by_address| {
                    let key =
                        former(&old.services, &self.config.services, name, service, backend, by_address)?;
                    before.get(&key)
                };
                let check = watched(service, backend);
                let is_saved = |was: &&State| was.known && was.up != starts_up(&was.check);
                let saved = was(true).filter(is_saved).filter(|_| check.is_some());
                let (up, known) = saved.map_or((starts_up(&check), false), |was| (was.up, true));
                let (admin, weight) =
                    was(false).map_or((Admin::Enabled, None), |was| (was.admin, was.weight));
                let backend = backend.clone();
                let whole = service.slow_start;
                let state = State {
                    backend,
                    check,
                    up,
                    known,
                    against: 0,
                    admin,
                    weight,
                    back: None,
                    guessed: false,
                    whole,
                };
                let key = BackendKey { service: name.clone(), backend: state.backend.name.clone() };
                if was(false).is_none_or(|was| was.up != up) {
                    self.touched.insert(key.clone());
                }
                let says = admin != Admin::Enabled || weight.is_some() || known;
                moved |= says && !before.contains_key(&key);
                self.backends.insert(key, state);
            }
        }
        self.decide_all(&old.services, true);
        moved
    }

    /// Takes over what a daemon says that operators said, where nobody can know what it remembers.
    pub fn adopt_overrides(&mut self, status: &Status) {
        self.has_left = status.node.left.is_some();
        for (key, state) in &mut self.backends {
            let Some(backend) = shown(status, key) else { continue };
            let said = backend.overridden.as_ref();
            state.admin = match said.and_then(|said| said.admin) {
                None | Some(ApiAdmin::Enabled) => Admin::Enabled,
                Some(ApiAdmin::Drain) => Admin::Drain,
                Some(ApiAdmin::Disabled) => Admin::Disabled,
            };
            state.weight = said.and_then(|said| said.weight);
        }
    }

    /// Takes over what it says of the health of its backends.
    pub fn adopt_health(&mut self, status: &Status) {
        for (key, state) in &mut self.backends {
            let Some(backend) = shown(status, key) else { continue };
            let initial = state.check.as_ref().is_none_or(|(check, _)| check.initial == Initial::Up);
            (state.up, state.known) = match backend.health {
                Observed::Healthy => (true, true),
                Observed::Unhealthy => (false, true),
                // One that serves goes on although it starts down.
                Observed::Unknown if backend.admin == ApiAdmin::Enabled && state.check.is_some() => {
                    (backend.eligible, false)
                }
                Observed::Unknown => (initial, false),
            };
            // Results in a row that speak against that.
            let last = backend.last_probe.as_ref();
            let against = last.filter(|last| last.ok.is_some_and(|ok| ok != state.up));
            state.against = against.map_or(0, |last| last.count);
            // It may have begun to get more of its share just now.
            (state.back, state.guessed) = (state.takes().then(Instant::now), true);
            self.touched.insert(key.clone());
        }
    }

    /// A probe found something.
    pub fn found(&mut self, found: &Found) {
        let mut services = vec![];
        for (key, state) in &mut self.backends {
            let Some(check) = state.asking(found) else { continue };
            if found.success == state.up {
                (state.known, state.against) = (true, 0);
                continue;
            }
            let needed = if found.success { check.rise } else { check.fall };
            state.against += 1;
            if state.against >= needed {
                let took = state.takes();
                (state.up, state.known, state.against) = (found.success, true, 0);
                self.touched.insert(key.clone());
                state.turn(took, found.at);
                let turned = self.quorums.turned.entry(key.service.clone()).or_default();
                turned[usize::from(found.success)] = true;
                services.push(key.service.clone());
            }
        }
        services.iter().for_each(|name| self.decide(name));
    }

    /// Whether what a probe found is not known yet of some backend.
    pub fn is_news(&self, found: &Found) -> bool {
        let mut asking = self.backends.values().filter(|state| state.asking(found).is_some());
        asking.any(|state| !state.known || state.up != found.success)
    }

    /// An operator overrides a backend.
    pub fn operator(&mut self, key: &BackendKey, verb: Verb, now: Instant) {
        let Some(state) = self.backends.get_mut(key) else { return };
        let took = state.takes();
        match verb {
            Verb::Drain => state.admin = Admin::Drain,
            Verb::Disable => state.admin = Admin::Disabled,
            Verb::Enable => state.admin = Admin::Enabled,
            Verb::Weight(weight) => state.weight = Some(weight),
            Verb::FileWeight => state.weight = None,
        }
        state.turn(took, now);
        self.touched.insert(key.clone());
        self.decide(&key.service);
    }

    pub fn is_up(&self, key: &BackendKey) -> bool {
        self.backends.get(key).is_some_and(|state| state.up)
    }

    pub fn weight(&self, key: &BackendKey) -> Option<u16> {
        self.backends.get(key).and_then(|state| state.weight)
    }

    pub fn is_known(&self, key: &BackendKey) -> bool {
        self.backends.get(key).is_some_and(|state| state.known)
    }

    pub fn admin(&self, key: &BackendKey) -> Admin {
        self.backends.get(key).map_or(Admin::Enabled, |state| state.admin)
    }

    /// Whether shares depend on the moment: they follow flows, or backends that are back get more with time.
    pub fn moves(&self, now: Instant) -> bool {
        self.services().iter().any(|(name, service)| {
            service.enabled
                && (service.scheduler == Scheduler::LeastConnections
                    || service.backends.iter().any(|backend| self.is_ramping(name, backend, now)))
        })
    }

    /// Whether a backend does not have its whole share yet, because it came back.
    pub fn is_ramping(&self, name: &ServiceName, backend: &Backend, now: Instant) -> bool {
        self.services()
            .get(name)
            .is_some_and(|service| self.ramp(&key(name, backend), service, now) < RAMP_STEPS)
    }

    fn ramp(&self, key: &BackendKey, service: &Service, now: Instant) -> u8 {
        let back = self.backends.get(key).and_then(|state| state.back);
        let (Some(back), Some(whole)) = (back, service.slow_start) else { return RAMP_STEPS };
        let done = (now - back).as_secs_f64() / whole.as_secs_f64() * f64::from(RAMP_STEPS);
        1 + done.min(f64::from(RAMP_STEPS - 1)) as u8
    }

    fn standing(&self, key: &BackendKey, service: &Service, full: bool, now: Instant) -> BackendState {
        let Some(state) = self.backends.get(key) else { return BackendState::default() };
        BackendState {
            admin: state.admin,
            weight: state.weight,
            is_up: state.up,
            is_unhealthy: state.known && !state.up,
            is_full: full,
            ramp: self.ramp(key, service, now),
        }
    }

    /// Services as they have to serve, for a fresh rendering.
    pub fn effective(&self, flows: &[Flow], now: Instant) -> Services {
        let effective = self.services().iter().map(|(name, service)| {
            let standing = |backend: &Backend| {
                let key = key(name, backend);
                self.standing(&key, service, self.is_full(name, backend, flows), now)
            };
            (name.clone(), pool::effective_service(service, standing, |_| self.quorums.is_met(name)))
        });
        effective.collect()
    }

    /// Whether a backend has as many flows as it may.
    pub fn is_full(&self, name: &ServiceName, backend: &Backend, flows: &[Flow]) -> bool {
        let limit = backend.max_connections;
        limit.is_some_and(|limit| self.active(name, backend, flows) >= limit as usize)
    }

    /// Live flows of a backend, those included that may be of it as well as of another one.
    pub fn active(&self, name: &ServiceName, backend: &Backend, flows: &[Flow]) -> usize {
        let is_here = |flow: &&Flow| {
            flow.is_translated()
                && flow.is_active()
                && flow.backend.ip() == backend.address
                && self.perhaps(flow.protocol, flow.to).iter().any(|(taker, _, listener)| {
                    *taker == name
                        && flow.backend.port() == backend.port.translate(listener.ports, flow.to.port())
                })
        };
        flows.iter().filter(is_here).count()
    }

    /// Backends that new flows of a service go to, with their weights; none: it is empty.
    pub fn pool<'a>(
        &self,
        name: &ServiceName,
        service: &'a Service,
        flows: &[Flow],
        now: Instant,
    ) -> Vec<(&'a Backend, u32)> {
        self.pool_by(name, service, flows, |key| self.ramp(key, service, now))
    }

    /// The least and the largest weights that they may have, where steps that were due at one of these times may have been
    /// taken or not.
    pub fn bounds<'a>(
        &self,
        name: &ServiceName,
        service: &'a Service,
        flows: &[Flow],
        [from, to]: [Instant; 2],
    ) -> [Vec<(&'a Backend, u32)>; 2] {
        let guessed = |key: &BackendKey| {
            let is_guessed = self.backends.get(key).is_some_and(|state| state.guessed);
            is_guessed && self.ramp(key, service, from) < RAMP_STEPS
        };
        let low = |key: &BackendKey| if guessed(key) { 1 } else { self.ramp(key, service, from) };
        let high = |key: &BackendKey| if guessed(key) { RAMP_STEPS } else { self.ramp(key, service, to) };
        [self.pool_by(name, service, flows, low), self.pool_by(name, service, flows, high)]
    }

    fn pool_by<'a>(
        &self,
        name: &ServiceName,
        service: &'a Service,
        flows: &[Flow],
        ramp: impl Fn(&BackendKey) -> u8,
    ) -> Vec<(&'a Backend, u32)> {
        let weight = |backend: &Backend| {
            let key = key(name, backend);
            let said = self.backends.get(&key).and_then(|state| state.weight);
            u32::from(said.unwrap_or(backend.weight)) * u32::from(ramp(&key))
        };
        let some = |backup: bool, whatever_health: bool| -> Vec<_> {
            let can = |backend: &&Backend| {
                let key = key(name, backend);
                backend.backup == backup
                    && self.admin(&key) == Admin::Enabled
                    && (whatever_health || self.is_up(&key))
                    && weight(backend) > 0
                    && !self.is_full(name, backend, flows)
            };
            service.backends.iter().filter(can).map(|backend| (backend, weight(backend))).collect()
        };
        let mut pool = some(false, false);
        if !self.quorums.is_met(name) || pool.len() < usize::from(service.quorum.down) {
            pool = some(true, false);
        }
        if pool.is_empty() && service.on_empty == OnEmpty::UseAll {
            pool = some(false, true);
        }
        pool
    }
}

pub fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}

fn shown<'a>(status: &'a Status, key: &BackendKey) -> Option<&'a BackendStatus> {
    let service = status.services.iter().find(|service| service.name == key.service.as_str())?;
    service.backends.iter().find(|backend| backend.name == key.backend.as_str())
}
