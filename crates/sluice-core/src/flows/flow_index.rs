//! [`FlowIndex`]: finds the listeners and backends that a flow may belong to.
//!
//! The precedence is that of the ruleset (`render::Rank`): exact, interface, wildcard, range. Conntrack
//! records neither the incoming interface of a flow nor which addresses are local, so several listeners may
//! match. A flow to an exact listener belongs to that listener alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sluice_nft::Ip;

use crate::model::{Address, Backend, BackendName, EffectiveServices, Protocol, ServiceName};
use crate::render::{Frontend, frontends};

/// Listeners of services, indexed by the destination of flows.
#[derive(Debug)]
pub struct FlowIndex<'a> {
    pub(super) exact: HashMap<(Protocol, SocketAddr), Frontend<'a>>,
    /// By protocol, IP version and address; `None`: any address.
    others: HashMap<(Protocol, Ip, Option<IpAddr>), Vec<Frontend<'a>>>,
}

/// The destination of a flow before and after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatTuple {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Original destination.
    pub to: SocketAddr,
    /// Source of the replies: the translated destination.
    pub backend: SocketAddr,
}

/// Listeners that may have matched a flow, in order of precedence.
pub(crate) struct Candidates<'o, 'a> {
    pub(crate) frontends: Vec<&'o Frontend<'a>>,
    /// Whether one of them has certainly matched it.
    pub(crate) is_certain: bool,
}

impl<'a> FlowIndex<'a> {
    /// Indexes the enabled services that have flows in conntrack.
    pub fn of(services: impl Into<EffectiveServices<'a>>) -> Self {
        let mut index = FlowIndex { exact: HashMap::new(), others: HashMap::new() };
        let frontends = frontends(services.into()).into_iter();
        for frontend in frontends.filter(|frontend| frontend.service.mode.uses_conntrack()) {
            let protocol = frontend.listener.protocol;
            if let Some(to) = frontend.exact() {
                index.exact.insert((protocol, to.into()), frontend);
            } else {
                let key = (protocol, frontend.ip, frontend.listener.address.exact());
                index.others.entry(key).or_default().push(frontend);
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
        for frontend in candidates.frontends {
            for backend in led_to(frontend, tuple.to, tuple.backend) {
                let of = (frontend.name, &backend.name);
                if !found.contains(&of) {
                    found.push(of);
                }
            }
        }
        found.into_iter()
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
            return Candidates { frontends: vec![frontend], is_certain: true };
        }
        let (ip, address) = (Ip::of(to.ip()), to.ip());
        let wide = [Some(address), None].into_iter().filter_map(|at| self.others.get(&(protocol, ip, at)));
        let mut matching: Vec<&Frontend<'a>> =
            wide.flatten().filter(|frontend| frontend.listener.ports.contains(to.port())).collect();
        matching.sort_by_key(|frontend| frontend.rank());
        let from_here = client.is_some_and(|client| client.is_loopback() || is_local(client));
        let mut candidates = Candidates { frontends: vec![], is_certain: false };
        let (mut interfaces, mut wild) = (vec![], false);
        for frontend in matching {
            let any = frontend.listener.address == Address::Any;
            match &frontend.service.interface {
                // Packets of this host do not arrive through an interface.
                Some(_) if from_here || any && !is_unicast(address) => {}
                Some(interface) if interfaces.contains(&interface) => {}
                Some(interface) => {
                    interfaces.push(interface);
                    candidates.frontends.push(frontend);
                }
                None if any && from_here && address.is_loopback() => {}
                // Two wildcard listeners match the same addresses, so the first one takes all flows.
                None if any && wild => {}
                None => {
                    wild |= any;
                    candidates.frontends.push(frontend);
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

/// The backends for which a frontend translates the destination `to` to `behind`.
pub(crate) fn led_to<'a>(
    frontend: &Frontend<'a>,
    to: SocketAddr,
    behind: SocketAddr,
) -> impl Iterator<Item = &'a Backend> {
    let ports = frontend.listener.ports;
    frontend.members().filter(move |backend| {
        behind == SocketAddr::new(backend.address, backend.port.translate(ports, to.port()))
    })
}

/// Whether an address can belong to a single host.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
