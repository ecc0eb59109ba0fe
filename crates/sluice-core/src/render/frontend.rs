//! [`Frontend`]: one listener of one service for one IP version, the unit of rendering.

use std::net::IpAddr;

use sluice_nft::{Ip, Key};

use super::names::FrontendId;
use crate::model::{
    Address, Backend, EffectiveServices, InterfaceName, Listener, Ports, Service, ServiceName, Source,
};

/// One listener of one service for one IP version.
#[derive(Debug)]
pub struct Frontend<'a> {
    /// Name of its service.
    pub name: &'a ServiceName,
    /// Its service.
    pub service: &'a Service,
    /// The listener.
    pub listener: Listener,
    /// IP version.
    pub ip: Ip,
    /// Backends of this IP version that take new flows, in file order.
    pub backends: Vec<&'a Backend>,
}

/// All frontends of enabled services, by service name, listener and IP version.
pub fn frontends(services: EffectiveServices<'_>) -> Vec<Frontend<'_>> {
    services.iter().flat_map(|(name, service)| Frontend::of(name, service)).collect()
}

/// Precedence of a frontend: if two match a packet, the lower one gets it. Exact comes before interface,
/// wildcard and range; within each, named ports come before `*`, and an address before `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// One address and one port, on any interface.
    Exact,
    /// On one interface.
    Interface(Breadth),
    /// One port of any address.
    Wildcard,
    /// Several ports.
    Range(Breadth),
}

/// Ports, then address; narrower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breadth {
    ports: u8,
    any_address: bool,
}

impl<'a> Frontend<'a> {
    /// The frontends of one service, by listener and IP version; none if the service is not enabled.
    pub fn of(name: &'a ServiceName, service: &'a Service) -> Vec<Frontend<'a>> {
        let mut frontends = Vec::new();
        for listener in service.listeners.iter().filter(|_| service.enabled) {
            for ip in Ip::ALL.into_iter().filter(|ip| service.takes(listener, *ip)) {
                let backends =
                    service.backends.iter().filter(|b| Ip::of(b.address) == ip && b.weight > 0).collect();
                frontends.push(Frontend { name, service, listener: *listener, ip, backends });
            }
        }
        frontends
    }

    /// All backends of this IP version, including those that take no new flows.
    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Backend> + Clone + use<'a> {
        let ip = self.ip;
        self.service.backends.iter().filter(move |backend| Ip::of(backend.address) == ip)
    }

    /// Whether its service has other frontends.
    pub(crate) fn is_one_of_several(&self) -> bool {
        let service = self.service;
        let versions = |listener| Ip::ALL.into_iter().filter(move |ip| service.takes(listener, *ip));
        service.listeners.iter().flat_map(versions).nth(1).is_some()
    }

    /// Whether its source is not the default, so that masquerading its flows would be wrong.
    pub(crate) fn has_own_source(&self) -> bool {
        self.service.source != Source::Masquerade
    }

    /// Its precedence.
    pub fn rank(&self) -> Rank {
        let Listener { address, ports, .. } = self.listener;
        let breadth = Breadth {
            ports: if ports.as_single().is_some() { 0 } else { 1 + u8::from(ports == Ports::ALL) },
            any_address: address == Address::Any,
        };
        match (&self.service.interface, breadth) {
            (Some(_), breadth) => Rank::Interface(breadth),
            (None, Breadth { ports: 0, any_address: false }) => Rank::Exact,
            (None, Breadth { ports: 0, any_address: true }) => Rank::Wildcard,
            (None, breadth) => Rank::Range(breadth),
        }
    }

    /// Address and port, if the frontend is exact and thus in the exact maps.
    pub fn exact(&self) -> Option<(IpAddr, u16)> {
        self.listener.exact().filter(|_| self.service.interface.is_none())
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.listener.protocol.number()
    }

    /// Its identity.
    pub fn id(&self) -> FrontendId {
        FrontendId { service: self.name.clone(), listener: self.listener, ip: self.ip }
    }

    /// Its key in the exact maps, if it is exact.
    pub(crate) fn exact_key(&self) -> Option<Key> {
        self.exact().map(|(address, port)| Key::EMPTY.address(address).protocol(self.protocol()).port(port))
    }

    /// The packets that it matches, without precedence.
    pub(crate) fn destination(&self) -> Destination {
        Destination { listener: self.listener, ip: self.ip, interface: self.service.interface.clone() }
    }

    /// The ports of `backend` that it translates to.
    pub fn backend_ports(&self, backend: &Backend) -> Ports {
        let ports = self.listener.ports;
        let translate = |port| backend.port.translate(ports, port);
        Ports { first: translate(ports.first), last: translate(ports.last) }
    }

    /// Whether one packet could match both, without precedence.
    pub fn overlaps(&self, other: &Frontend<'_>) -> bool {
        self.destination().overlaps(&other.destination())
    }
}

/// The packets that a frontend matches, without precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    listener: Listener,
    ip: Ip,
    interface: Option<InterfaceName>,
}

impl Destination {
    /// Whether one packet could match both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.ip == other.ip
            && self.listener.protocol == other.listener.protocol
            && self.listener.ports.overlaps(other.listener.ports)
            && compatible(self.listener.address.exact(), other.listener.address.exact())
            && compatible(self.interface.as_ref(), other.interface.as_ref())
    }
}

/// Whether both requirements can be met; `None` requires nothing.
fn compatible<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    a.is_none() || b.is_none() || a == b
}
