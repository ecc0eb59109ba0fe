//! Which service takes a flow, and whose the flows are that conntrack knows.
//!
//! Precedence is that of the ruleset (`render::Rank`): exact beats interface beats wildcard beats
//! range. Conntrack does not know which interface a flow came in by, nor which addresses are local, so several
//! listeners may be left that could have taken it. What came in where some listener has one address and port on any
//! interface is of that listener alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_nft::Ip;

use crate::flows::nat_tuple::NatTuple;
use crate::model::{Address, Backend, BackendName, EffectiveServices, Protocol, ServiceName};
use crate::render::{Frontend, frontends};

/// Services, by what flows are looked up with.
#[derive(Debug)]
pub struct FlowIndex<'a> {
    exact: HashMap<(Protocol, SocketAddr), Frontend<'a>>,
    /// By protocol, IP version and address; `None`: any address.
    others: HashMap<(Protocol, Ip, Option<IpAddr>), Vec<Frontend<'a>>>,
}

/// Listeners that may have taken a flow, those that go first before others.
pub(crate) struct Candidates<'o, 'a> {
    exact: Option<&'o Frontend<'a>>,
    others: Vec<&'o Frontend<'a>>,
    /// Whether one of them takes it for certain.
    pub(crate) is_certain: bool,
}

impl<'a> FlowIndex<'a> {
    /// Those of these services that are enabled.
    pub fn of(services: impl Into<EffectiveServices<'a>>) -> Self {
        let mut index = FlowIndex { exact: HashMap::new(), others: HashMap::new() };
        for frontend in frontends(services.into()) {
            match frontend.exact() {
                Some((address, port)) => {
                    index
                        .exact
                        .insert((frontend.listener.protocol, SocketAddr::new(address, port)), frontend);
                }
                None => {
                    let address = match frontend.listener.address {
                        Address::Any => None,
                        Address::Exact(address) => Some(address),
                    };
                    index
                        .others
                        .entry((frontend.listener.protocol, frontend.ip, address))
                        .or_default()
                        .push(frontend);
                }
            }
        }
        index
    }

    /// Backends that a flow is of, each once: one, unless several listeners that could have taken it lead there.
    pub fn backends(
        &self,
        way: &NatTuple,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a BackendName)> + use<'a> {
        let candidates = self.candidates(way.protocol, None, way.to, |_| false);
        let mut found: Vec<(&ServiceName, &BackendName)> = vec![];
        for frontend in candidates.iter() {
            let led = frontend.members().filter(|backend| leads(frontend, backend, way.to, way.backend));
            for backend in led {
                let of = (frontend.name, &backend.name);
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
    pub(crate) fn behind<'o>(&'o self, frontend: &Frontend<'_>) -> impl Iterator<Item = &'o Frontend<'a>> {
        let rank = frontend.rank();
        self.others.values().flatten().filter(move |other| other.overlaps(frontend) && other.rank() >= rank)
    }

    /// Listeners that may have taken a flow. `is_local` tells addresses that this host is known to have; of all others
    /// nothing is known.
    pub(crate) fn candidates(
        &self,
        protocol: Protocol,
        client: Option<IpAddr>,
        to: SocketAddr,
        is_local: impl Fn(IpAddr) -> bool,
    ) -> Candidates<'_, 'a> {
        if let Some(frontend) = self.exact.get(&(protocol, to)) {
            return Candidates { exact: Some(frontend), others: vec![], is_certain: true };
        }
        let (ip, address) = (Ip::of(to.ip()), to.ip());
        let wide = [Some(address), None].into_iter().filter_map(|at| self.others.get(&(protocol, ip, at)));
        let mut matching: Vec<&Frontend<'a>> =
            wide.flatten().filter(|frontend| frontend.listener.ports.contains(to.port())).collect();
        matching.sort_by_key(|frontend| frontend.rank());
        let from_here = client.is_some_and(|client| client.is_loopback() || is_local(client));
        let mut candidates = Candidates { exact: None, others: vec![], is_certain: false };
        let (mut interfaces, mut wild) = (vec![], false);
        for frontend in matching {
            let any = frontend.listener.address == Address::Any;
            match &frontend.service.interface {
                // What this host sends arrives at no interface.
                Some(_) if from_here || any && !is_unicast(address) => {}
                Some(interface) if interfaces.contains(&interface) => {}
                Some(interface) => {
                    interfaces.push(interface);
                    candidates.others.push(frontend);
                }
                None if any && from_here && address.is_loopback() => {}
                // Either the one before takes it, or neither does.
                None if any && wild => {}
                None => {
                    wild |= any;
                    candidates.others.push(frontend);
                    candidates.is_certain = !any || is_local(address);
                }
            }
            if candidates.is_certain {
                break;
            }
        }
        candidates
    }
}

impl<'o, 'a> Candidates<'o, 'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'o Frontend<'a>> + '_ {
        self.exact.iter().chain(&self.others).copied()
    }
}

/// Whether what comes to a listener of an entry at `to` may leave for `behind`.
pub(crate) fn leads(frontend: &Frontend<'_>, backend: &Backend, to: SocketAddr, behind: SocketAddr) -> bool {
    behind == SocketAddr::new(backend.address, backend.port.translate(frontend.listener.ports, to.port()))
}

/// Whether an address is that of one host, as far as it tells by itself.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
