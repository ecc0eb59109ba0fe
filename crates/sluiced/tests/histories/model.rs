//! What a daemon has to know, in a few lines: which backends may take traffic, and whose a packet is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sluice_api::{Admin as Wanted, Health as Observed, Status};
use sluice_core::health::Admin;
use sluice_core::model::{
    Address, Backend, BackendKey, Config, HealthCheck, Initial, Listener, OnDeny, OnEmpty, Protocol,
    Scheduler, Service, ServiceName, Services,
};
use sluice_core::pool::{self, RAMP_STEPS, Standing};
use sluice_netlink::conntrack::Flow;
use sluice_nft::trace::Entry;
use tokio::time::Instant;

use crate::event::Verb;
use crate::hosts::Found;

pub struct Model {
    pub config: Config,
    backends: BTreeMap<BackendKey, State>,
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
}

impl State {
    /// Whether it takes new flows when its pool serves.
    fn takes(&self) -> bool {
        self.up && self.admin == Admin::Enabled && self.weight.unwrap_or(self.backend.weight) > 0
    }

    /// It did or did not take new flows before; one that does so again gets its share in steps.
    fn turn(&mut self, took: bool, now: Instant) {
        if took != self.takes() {
            self.back = self.takes().then_some(now);
        }
    }
}

/// A listener that may take a flow.
pub type Taker<'a> = (&'a ServiceName, &'a Service, &'a Listener);

impl Model {
    pub fn new(config: Config) -> Self {
        let mut model = Model { config: config.clone(), backends: BTreeMap::new(), touched: BTreeSet::new() };
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
                let mut state =
                    State { backend: backend.clone(), check, up, known, against, admin, weight, back: None };
                let was_enabled =
                    |key: &BackendKey| old.services.get(&key.service).is_some_and(|it| it.enabled);
                let was_there = found.as_ref().is_some_and(was_enabled);
                if let Some(said) = said.filter(|_| was_there && service.enabled) {
                    state.back = said.back;
                    state.turn(said.takes(), now);
                }
                if said.is_none_or(|said| said.up != up) {
                    self.touched.insert(key.clone());
                }
                self.backends.insert(key, state);
            }
        }
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
                let state = State { backend, check, up, known, against: 0, admin, weight, back: None };
                let key = BackendKey { service: name.clone(), backend: state.backend.name.clone() };
                if was(false).is_none_or(|was| was.up != up) {
                    self.touched.insert(key.clone());
                }
                let says = admin != Admin::Enabled || weight.is_some() || known;
                moved |= says && !before.contains_key(&key);
                self.backends.insert(key, state);
            }
        }
        moved
    }

    /// Takes over what a daemon says of its backends where nobody can know what it remembers.
    pub fn adopt(&mut self, status: &Status) {
        for (key, state) in &mut self.backends {
            let service = status.services.iter().find(|service| service.name == key.service.as_str());
            let backend = service.and_then(|s| s.backends.iter().find(|b| b.name == key.backend.as_str()));
            let Some(backend) = backend else { continue };
            let initial = state.check.as_ref().is_none_or(|(check, _)| check.initial == Initial::Up);
            (state.up, state.known) = match backend.health {
                Observed::Healthy => (true, true),
                Observed::Unhealthy => (false, true),
                Observed::Unknown => (initial, false),
            };
            // Results in a row that speak against that.
            let last = backend.last_probe.as_ref();
            let against = last.filter(|last| last.ok.is_some_and(|ok| ok != state.up));
            state.against = against.map_or(0, |last| last.count);
            let said = backend.overridden.as_ref();
            state.admin = match said.and_then(|said| said.admin) {
                None | Some(Wanted::Enabled) => Admin::Enabled,
                Some(Wanted::Drain) => Admin::Drain,
                Some(Wanted::Disabled) => Admin::Disabled,
            };
            state.weight = said.and_then(|said| said.weight);
            // It may have begun to get more of its share just now.
            state.back = state.takes().then(Instant::now);
            self.touched.insert(key.clone());
        }
    }

    /// A probe found something.
    pub fn found(&mut self, found: &Found) {
        for (key, state) in &mut self.backends {
            let Some((check, port)) = &state.check else { continue };
            let asks_this = check.probe == found.probe
                && check.timeout == found.timeout
                && (state.backend.address, *port) == (found.target.address, found.target.port);
            if !asks_this {
                continue;
            }
            if found.success == state.up {
                (state.known, state.against) = (true, 0);
                continue;
            }
            state.against += 1;
            if state.against >= if found.success { check.rise } else { check.fall } {
                let took = state.takes();
                (state.up, state.known, state.against) = (found.success, true, 0);
                self.touched.insert(key.clone());
                state.turn(took, found.at);
            }
        }
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
    }

    pub fn is_up(&self, key: &BackendKey) -> bool {
        self.backends.get(key).is_some_and(|state| state.up)
    }

    pub fn is_known(&self, key: &BackendKey) -> bool {
        self.backends.get(key).is_some_and(|state| state.known)
    }

    pub fn admin(&self, key: &BackendKey) -> Admin {
        self.backends.get(key).map_or(Admin::Enabled, |state| state.admin)
    }

    /// Whether shares depend on the moment: they follow flows, or backends that are back get more with time.
    pub fn moves(&self, now: Instant) -> bool {
        let ramps = |key: &BackendKey, service: &Service| self.ramp(key, service, now) < RAMP_STEPS;
        self.services().iter().any(|(name, service)| {
            service.enabled
                && (service.scheduler == Scheduler::LeastConnections
                    || service.backends.iter().any(|backend| ramps(&key(name, backend), service)))
        })
    }

    fn ramp(&self, key: &BackendKey, service: &Service, now: Instant) -> u8 {
        let back = self.backends.get(key).and_then(|state| state.back);
        let (Some(back), Some(whole)) = (back, service.slow_start) else { return RAMP_STEPS };
        let done = (now - back).as_secs_f64() / whole.as_secs_f64() * f64::from(RAMP_STEPS);
        1 + done.min(f64::from(RAMP_STEPS - 1)) as u8
    }

    fn standing(&self, key: &BackendKey, service: &Service, full: bool, now: Instant) -> Standing {
        let Some(state) = self.backends.get(key) else { return Standing::default() };
        Standing {
            admin: state.admin,
            weight: state.weight,
            is_up: state.up,
            is_unhealthy: state.known && !state.up,
            is_full: full,
            ramp: self.ramp(key, service, now),
        }
    }

    /// Services as they have to serve, for a fresh rendering.
    pub fn effective(&self, flows: &[Flow], local: &[IpAddr], now: Instant) -> Services {
        let effective = self.services().iter().map(|(name, service)| {
            let standing = |backend: &Backend| {
                let key = key(name, backend);
                self.standing(&key, service, self.is_full(name, backend, flows, local), now)
            };
            (name.clone(), pool::in_force(service, standing))
        });
        effective.collect()
    }

    /// Whether a backend has as many flows as it may.
    fn is_full(&self, name: &ServiceName, backend: &Backend, flows: &[Flow], local: &[IpAddr]) -> bool {
        let Some(limit) = backend.max_connections else { return false };
        let is_here = |flow: &&Flow| {
            flow.is_translated()
                && flow.is_active()
                && self.takers(flow.protocol, flow.to, None, local).iter().any(|(taker, _, listener)| {
                    *taker == name
                        && flow.backend
                            == SocketAddr::new(
                                backend.address,
                                backend.port.translate(listener.ports, flow.to.port()),
                            )
                })
        };
        flows.iter().filter(is_here).count() >= limit as usize
    }

    /// Backends that new flows of a service go to, by name; none: it is empty.
    pub fn pool<'a>(
        &self,
        name: &ServiceName,
        service: &'a Service,
        flows: &[Flow],
        local: &[IpAddr],
        now: Instant,
    ) -> Vec<(&'a Backend, u32)> {
        let weight = |backend: &Backend| {
            let key = key(name, backend);
            let said = self.backends.get(&key).and_then(|state| state.weight);
            u32::from(said.unwrap_or(backend.weight)) * u32::from(self.ramp(&key, service, now))
        };
        let some = |backup: bool, whatever_health: bool| -> Vec<_> {
            let can = |backend: &&Backend| {
                let key = key(name, backend);
                backend.backup == backup
                    && self.admin(&key) == Admin::Enabled
                    && (whatever_health || self.is_up(&key))
                    && weight(backend) > 0
                    && !self.is_full(name, backend, flows, local)
            };
            service.backends.iter().filter(can).map(|backend| (backend, weight(backend))).collect()
        };
        let mut pool = some(false, false);
        if pool.len() < usize::from(service.quorum) {
            pool = some(true, false);
        }
        if pool.is_empty() && service.on_empty == OnEmpty::UseAll {
            pool = some(false, true);
        }
        pool
    }

    /// Listeners that may take a packet or flow, by precedence: the last one takes what those on an interface before it
    /// do not. `entry` is how it came, if that is known.
    pub fn takers(
        &self,
        protocol: Protocol,
        to: SocketAddr,
        entry: Option<&Entry>,
        local: &[IpAddr],
    ) -> Vec<Taker<'_>> {
        let mut all: Vec<(_, Taker<'_>)> = vec![];
        for (name, service) in self.services().iter().filter(|(_, service)| service.enabled) {
            for listener in &service.listeners {
                let is_there = match listener.address {
                    Address::Exact(address) => address == to.ip(),
                    Address::Any => service.interface.is_some() || local.contains(&to.ip()),
                };
                let arrives = match (&service.interface, entry) {
                    (None, _) | (_, None) => true,
                    (Some(interface), Some(Entry::Arriving(name))) => interface.as_str() == name,
                    (Some(_), Some(Entry::Local)) => false,
                };
                let ports = listener.ports;
                let fits = (ports.first..=ports.last).contains(&to.port());
                if listener.protocol == protocol && is_there && arrives && fits {
                    all.push((rank(service, listener), (name, service, listener)));
                }
            }
        }
        all.sort_by_key(|(rank, _)| *rank);
        let last = all.iter().position(|(_, (_, service, _))| service.interface.is_none() || entry.is_some());
        all.truncate(last.map_or(all.len(), |last| last + 1));
        all.into_iter().map(|(_, taker)| taker).collect()
    }

    /// Whether a service resets an established connection because of its client.
    pub fn resets_refused(&self, (_, service, _): Taker<'_>, flow: &Flow) -> bool {
        service.on_deny == OnDeny::Reset && refuses(service, flow.client.ip())
    }

    /// Whether a flow may stay where it is, as one that a listener takes.
    pub fn keeps(&self, (name, service, listener): Taker<'_>, flow: &Flow) -> bool {
        let is_denied = refuses(service, flow.client.ip());
        let stays = |backend: &&Backend| {
            let (key, port) = (key(name, backend), backend.port.translate(listener.ports, flow.to.port()));
            let serves = self.is_up(&key) || service.on_empty == OnEmpty::UseAll;
            SocketAddr::new(backend.address, port) == flow.backend
                && serves
                && self.admin(&key) != Admin::Disabled
        };
        flow.is_translated() && !is_denied && service.backends.iter().any(|backend| stays(&backend))
    }
}

/// Whether a service lets no new flows of a client in.
pub fn refuses(service: &Service, client: IpAddr) -> bool {
    service.guard.as_ref().is_some_and(|guard| {
        let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
        within(&guard.deny) || !guard.allow.is_empty() && !within(&guard.allow)
    })
}

/// Exact beats interface beats wildcard beats range; then fewer ports, then an address.
fn rank(service: &Service, listener: &Listener) -> (u8, u8, bool) {
    let ports = match listener.ports.as_single() {
        Some(_) => 0,
        None => 1 + u8::from(listener.ports.count() > 60_000),
    };
    let any = listener.address == Address::Any;
    let class = match (&service.interface, ports, any) {
        (Some(_), ..) => 1,
        (None, 0, false) => 0,
        (None, 0, true) => 2,
        (None, ..) => 3,
    };
    (class, ports, any)
}

/// The check of a backend and the port it asks, if it is probed.
fn watched(service: &Service, backend: &Backend) -> Option<(Arc<HealthCheck>, u16)> {
    let check = service.health.clone().filter(|_| service.enabled)?;
    Some((check, service.probe_port(backend).unwrap_or(0)))
}

/// What a backend was called before: its health goes by address and port, what an operator said goes by name. A service
/// whose name is new may be one that is gone and listened where it does.
fn former(
    old: &Services,
    new: &Services,
    name: &ServiceName,
    service: &Service,
    backend: &Backend,
    by_address: bool,
) -> Option<BackendKey> {
    let is_gone = |before: &ServiceName| !new.contains_key(before);
    let before: Vec<_> = match old.get_key_value(name) {
        Some(there) => vec![there],
        None => {
            let listened =
                |listener| move |(_, it): &(&ServiceName, &Service)| it.listeners.contains(listener);
            let gone = || old.iter().filter(|(before, _)| is_gone(before));
            service.listeners.iter().flat_map(|listener| gone().filter(listened(listener))).collect()
        }
    };
    let is_renamed = !old.contains_key(name);
    before.into_iter().find_map(|(before, there)| {
        let port = backend.port_behind(&service.listeners);
        let same_port = |it: &Backend| port.is_some() && it.port_behind(&there.listeners) == port;
        let same_place =
            |it: &&Backend| it.address == backend.address && (it.port == backend.port || same_port(it));
        let same_name = |it: &&Backend| it.name == backend.name;
        let same_host = |it: &&Backend| same_name(it) && it.address == backend.address;
        let mut all = there.backends.iter();
        let found = match by_address {
            true if is_renamed => all.find(same_place),
            true => all.find(same_place).or_else(|| there.backends.iter().find(same_host)),
            false => all.find(same_name).or_else(|| there.backends.iter().find(same_place)),
        };
        found.map(|found| key(before, found))
    })
}

pub fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}
