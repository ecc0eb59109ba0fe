//! The model of which service a packet or flow belongs to, and whether a flow may stay.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sluice_core::model::{Address, Backend, Listener, OnDeny, OnEmpty, Protocol, Service, ServiceName};
use sluice_core::pool::health::Admin;
use sluice_netlink::conntrack::Flow;
use sluice_nft::trace::Ingress;

use crate::model::{Model, key};

/// A listener that may take a flow.
pub type Taker<'a> = (&'a ServiceName, &'a Service, &'a Listener);

impl Model {
    /// Listeners that may take a packet or flow, by precedence: the last one takes what those on an interface before it
    /// do not. `ingress` is how it came, if that is known.
    pub fn takers(
        &self,
        protocol: Protocol,
        to: SocketAddr,
        ingress: Option<&Ingress>,
        local: &[IpAddr],
    ) -> Vec<Taker<'_>> {
        let mut all = self.listening(protocol, to);
        all.retain(|(_, service, listener)| {
            let is_there = match listener.address {
                Address::Exact(_) => true,
                Address::Any => service.interface.is_some() || local.contains(&to.ip()),
            };
            let arrives = match (&service.interface, ingress) {
                (None, _) | (_, None) => true,
                (Some(interface), Some(Ingress::Arriving(name))) => interface.as_str() == name,
                (Some(_), Some(Ingress::Local)) => false,
            };
            is_there && arrives
        });
        let last = all.iter().position(|(_, service, _)| service.interface.is_none() || ingress.is_some());
        all.truncate(last.map_or(all.len(), |last| last + 1));
        all
    }

    /// Listeners of this protocol, port and address, or of any, by precedence.
    fn listening(&self, protocol: Protocol, to: SocketAddr) -> Vec<Taker<'_>> {
        let mut all: Vec<(_, Taker<'_>)> = vec![];
        for (name, service) in self.services().iter().filter(|(_, service)| service.enabled) {
            for listener in &service.listeners {
                let ports = listener.ports;
                let fits = [Address::Any, Address::Exact(to.ip())].contains(&listener.address)
                    && (ports.first..=ports.last).contains(&to.port());
                if listener.protocol == protocol && fits {
                    all.push((rank(service, listener), (name, service, listener)));
                }
            }
        }
        all.sort_by_key(|(rank, _)| *rank);
        all.into_iter().map(|(_, taker)| taker).collect()
    }

    /// Listeners that may have taken a flow of which nobody knows how it came, nor whether it was sent to this host: of each
    /// interface and of wildcards the first, and those before the first that takes all.
    pub fn perhaps(&self, protocol: Protocol, to: SocketAddr) -> Vec<Taker<'_>> {
        let all = self.listening(protocol, to);
        let (mut interfaces, mut is_wild, mut found) = (BTreeSet::new(), false, vec![]);
        for taker in all {
            let (_, service, listener) = taker;
            let is_any = listener.address == Address::Any;
            match &service.interface {
                Some(interface) if !interfaces.insert(interface) => {}
                Some(_) => found.push(taker),
                None if is_any && is_wild => {}
                None => {
                    is_wild |= is_any;
                    found.push(taker);
                    if !is_any {
                        break;
                    }
                }
            }
        }
        found
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
            // One that was never probed keeps what it has.
            let serves = self.is_up(&key) || !self.is_known(&key) || service.on_empty == OnEmpty::UseAll;
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
