//! [`FlowIndex`]: finds the listeners and backends that a flow may belong to.
//!
//! The precedence is that of the ruleset (`render::Rank`): exact, interface, wildcard, range. Conntrack
//! records neither the incoming interface of a flow nor which addresses are local, so several listeners may
//! match. A flow to an exact listener belongs to that listener alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_nft::Ip;

use crate::flows::nat_tuple::NatTuple;
use crate::model::{Address, Backend, BackendName, EffectiveServices, Protocol, ServiceName};
use crate::render::{Frontend, frontends};

/// Listeners of services, indexed by the destination of flows.
#[derive(Debug)]
pub struct FlowIndex<'a> {
    exact: HashMap<(Protocol, SocketAddr), Frontend<'a>>,
    /// By protocol, IP version and address; `None`: any address.
    others: HashMap<(Protocol, Ip, Option<IpAddr>), Vec<Frontend<'a>>>,
}

/// Listeners that may have matched a flow, in order of precedence.
pub(crate) struct Candidates<'o, 'a> {
    exact: Option<&'o Frontend<'a>>,
    others: Vec<&'o Frontend<'a>>,
    /// Whether one of them has certainly matched it.
    pub(crate) is_certain: bool,
}

impl<'a> FlowIndex<'a> {
    /// Indexes the enabled services that have flows in conntrack.
    pub fn of(services: impl Into<EffectiveServices<'a>>) -> Self {
        let mut index = FlowIndex { exact: HashMap::new(), others: HashMap::new() };
        let frontends = frontends(services.into()).into_iter();
        for frontend in frontends.filter(|frontend| frontend.service.mode.uses_conntrack()) {
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

    /// The backends that a flow may belong to, without duplicates: a single one, unless several matching
    /// listeners lead to its backend.
    pub fn backends(
        &self,
        tuple: &NatTuple,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a BackendName)> + use<'a> {
        let candidates = self.candidates(tuple.protocol, None, tuple.to, |_| false);
        let mut found: Vec<(&ServiceName, &BackendName)> = vec![];
        for frontend in candidates.iter() {
            let led = frontend.members().filter(|backend| leads(frontend, backend, tuple.to, tuple.backend));
            for backend in led {
                let of = (frontend.name, &backend.name);
                if !found.contains(&of) {
                    found.push(of);
                }
            }
        }
        found.into_iter()
    }

    /// Whether an exact listener has this destination.
    pub(crate) fn is_exact(&self, protocol: Protocol, to: SocketAddr) -> bool {
        self.exact.contains_key(&(protocol, to))
    }

    /// Listeners that lose packets to this frontend. An exact listener with the same destination is not
    /// included, because a change that moves the destination to another service affects that listener itself.
    pub(crate) fn behind<'o>(&'o self, frontend: &Frontend<'_>) -> impl Iterator<Item = &'o Frontend<'a>> {
        let rank = frontend.rank();
        self.others.values().flatten().filter(move |other| other.overlaps(frontend) && other.rank() >= rank)
    }

    /// Listeners that may have matched a flow. `is_local` returns whether an address is known to be local;
    /// other addresses may be local or not.
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
                // Packets of this host do not arrive through an interface.
                Some(_) if from_here || any && !is_unicast(address) => {}
                Some(interface) if interfaces.contains(&interface) => {}
                Some(interface) => {
                    interfaces.push(interface);
                    candidates.others.push(frontend);
                }
                None if any && from_here && address.is_loopback() => {}
                // Two wildcard listeners match the same addresses, so the first one takes all flows.
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

/// Whether a frontend translates the destination `to` to `behind`.
pub(crate) fn leads(frontend: &Frontend<'_>, backend: &Backend, to: SocketAddr, behind: SocketAddr) -> bool {
    behind == SocketAddr::new(backend.address, backend.port.translate(frontend.listener.ports, to.port()))
}

/// Whether an address can belong to a single host.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
