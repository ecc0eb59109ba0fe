//! Which service takes a flow, and whose the flows are that conntrack knows.
//!
//! Precedence is that of the ruleset (`render::Rank`): exact beats interface beats wildcard beats
//! range. Conntrack does not know which interface a flow came in by, nor which addresses are local, so several
//! listeners may be left that could have taken it. What came in where some listener has one address and port on any
//! interface is of that listener alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_nft::Ip;

use crate::flows::way::Way;
use crate::model::{Address, Backend, BackendName, InForce, Protocol, ServiceName};
use crate::render::{Entry, entries};

/// Services, by what flows are looked up with.
#[derive(Debug)]
pub struct Owners<'a> {
    exact: HashMap<(Protocol, SocketAddr), Entry<'a>>,
    /// By protocol, IP version and address; `None`: any address.
    others: HashMap<(Protocol, Ip, Option<IpAddr>), Vec<Entry<'a>>>,
}

/// Listeners that may have taken a flow, those that go first before others.
pub(crate) struct Takers<'o, 'a> {
    exact: Option<&'o Entry<'a>>,
    others: Vec<&'o Entry<'a>>,
    /// Whether one of them takes it for certain.
    pub(crate) is_certain: bool,
}

impl<'a> Owners<'a> {
    /// Those of these services that are enabled.
    pub fn of(services: impl Into<InForce<'a>>) -> Self {
        let mut owners = Owners { exact: HashMap::new(), others: HashMap::new() };
        for entry in entries(services.into()) {
            match entry.exact() {
                Some((address, port)) => {
                    owners.exact.insert((entry.listener.protocol, SocketAddr::new(address, port)), entry);
                }
                None => {
                    let address = match entry.listener.address {
                        Address::Any => None,
                        Address::Exact(address) => Some(address),
                    };
                    owners
                        .others
                        .entry((entry.listener.protocol, entry.ip, address))
                        .or_default()
                        .push(entry);
                }
            }
        }
        owners
    }

    /// Backends that a flow is of, each once: one, unless several listeners that could have taken it lead there.
    pub fn backends(&self, way: &Way) -> impl Iterator<Item = (&'a ServiceName, &'a BackendName)> + use<'a> {
        let takers = self.takers(way.protocol, None, way.to, |_| false);
        let mut found: Vec<(&ServiceName, &BackendName)> = vec![];
        for entry in takers.iter() {
            let led = entry.members().filter(|backend| leads(entry, backend, way.to, way.backend));
            for backend in led {
                let of = (entry.name, &backend.name);
                if !found.contains(&of) {
                    found.push(of);
                }
            }
        }
        found.into_iter()
    }

    /// Whether a listener with one address and port on any interface takes what comes in there.
    pub(crate) fn is_exact(&self, protocol: Protocol, to: SocketAddr) -> bool {
        self.exact.contains_key(&(protocol, to))
    }

    /// Listeners that would lose packets to this entry. The exact one of the same address and port is not among them: a
    /// change that gives it to another service concerns that listener itself.
    pub(crate) fn behind<'o>(&'o self, entry: &Entry<'_>) -> impl Iterator<Item = &'o Entry<'a>> {
        let rank = entry.rank();
        self.others.values().flatten().filter(move |other| other.overlaps(entry) && other.rank() >= rank)
    }

    /// Listeners that may have taken a flow. `is_local` tells addresses that this host is known to have; of all others
    /// nothing is known.
    pub(crate) fn takers(
        &self,
        protocol: Protocol,
        client: Option<IpAddr>,
        to: SocketAddr,
        is_local: impl Fn(IpAddr) -> bool,
    ) -> Takers<'_, 'a> {
        if let Some(entry) = self.exact.get(&(protocol, to)) {
            return Takers { exact: Some(entry), others: vec![], is_certain: true };
        }
        let (ip, address) = (Ip::of(to.ip()), to.ip());
        let wide = [Some(address), None].into_iter().filter_map(|at| self.others.get(&(protocol, ip, at)));
        let mut matching: Vec<&Entry<'a>> =
            wide.flatten().filter(|entry| entry.listener.ports.contains(to.port())).collect();
        matching.sort_by_key(|entry| entry.rank());
        let from_here = client.is_some_and(|client| client.is_loopback() || is_local(client));
        let mut takers = Takers { exact: None, others: vec![], is_certain: false };
        let (mut interfaces, mut wild) = (vec![], false);
        for entry in matching {
            let any = entry.listener.address == Address::Any;
            match &entry.service.interface {
                // What this host sends arrives at no interface.
                Some(_) if from_here || any && !is_unicast(address) => {}
                Some(interface) if interfaces.contains(&interface) => {}
                Some(interface) => {
                    interfaces.push(interface);
                    takers.others.push(entry);
                }
                None if any && from_here && address.is_loopback() => {}
                // Either the one before takes it, or neither does.
                None if any && wild => {}
                None => {
                    wild |= any;
                    takers.others.push(entry);
                    takers.is_certain = !any || is_local(address);
                }
            }
            if takers.is_certain {
                break;
            }
        }
        takers
    }
}

impl<'o, 'a> Takers<'o, 'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'o Entry<'a>> + '_ {
        self.exact.iter().chain(&self.others).copied()
    }
}

/// Whether what comes to a listener of an entry at `to` may leave for `behind`.
pub(crate) fn leads(entry: &Entry<'_>, backend: &Backend, to: SocketAddr, behind: SocketAddr) -> bool {
    behind == SocketAddr::new(backend.address, backend.port.translate(entry.listener.ports, to.port()))
}

/// Whether an address is that of one host, as far as it tells by itself.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
