//! [`TableEndpoints`]: listeners and backends read from a table in the kernel, to recognise flows that it
//! translated.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use sluice_nft::{Data, Ip, Key, Table};

use super::Flow;
use crate::model::{Address, BackendPort, Ports, Protocol, Services};
use crate::render::affinity::listener;
use crate::render::{ChainId, FrontendId, SetId};

/// Listeners and backends of a table, without its configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableEndpoints {
    /// Listeners with one address and port.
    exact: HashSet<(Protocol, SocketAddr)>,
    /// Other listeners, by protocol and IP version.
    others: HashMap<(Protocol, Ip), BTreeSet<(Address, Ports)>>,
    /// Backends with their ports; `None`: the port is not translated.
    backends: HashSet<(IpAddr, Option<u16>)>,
}

impl TableEndpoints {
    /// Reads them from a table.
    pub fn of(table: &Table) -> Self {
        use SetId::*;
        let mut found = TableEndpoints::default();
        for (name, set) in &table.sets {
            let Some(id) = SetId::parse(name) else { continue };
            match id {
                Services(_) => found.exact.extend(set.elements.keys().filter_map(exact)),
                // Backends that take no new flows have no slots, but are in these sets.
                Source((_, ip)) => {
                    found.backends.extend(set.elements.keys().filter_map(|key| behind(key, ip)));
                }
                Adopted(_) | Ignored(_) | Answers(_) | EarlyAnswers(_) | Guarded(_) | UnknownClients(_)
                | Syns(_) | Proxied(_) | InvalidRequests(_) | InvalidReplies(_) | Invalid(_) | OnLink(_)
                | SameInterface | Clients(..) | Bound(..) | Learn(_) | OwnSource(..) | Slots(..)
                | Stripes(..) | Networks(..) | Dropped(..) | Limit(..) => {}
            }
        }
        for id in table.chains.keys().filter_map(ChainId::parse) {
            let Some(FrontendId { listener, ip, .. }) = id.listener() else { continue };
            let of_protocol = found.others.entry((listener.protocol, *ip)).or_default();
            of_protocol.insert((listener.address, listener.ports));
        }
        // The data of all other maps are backends.
        let answers = |name| matches!(SetId::parse(name), Some(Answers(_)));
        for (_, set) in table.sets.iter().filter(|(name, _)| !answers(name)) {
            let values = set.elements.values().filter_map(|element| match &element.data {
                Data::Value(value) => Ip::ALL.into_iter().find_map(|ip| place(value.as_slice(), ip)),
                Data::None | Data::Goto(_) | Data::KeyEnd(_) => None,
            });
            found.backends.extend(values);
        }
        found
    }

    /// Adds the backends of the services from which the table was rendered, as far as they are remembered: one that took no new
    /// flows need not be in the table.
    pub fn add_backends(&mut self, services: &Services) {
        for backend in services.values().flat_map(|service| &service.backends) {
            let address = backend.address;
            match backend.port {
                BackendPort::Keep => drop(self.backends.insert((address, None))),
                BackendPort::One(port) => drop(self.backends.insert((address, Some(port)))),
                BackendPort::Range(Ports { first, last }) => {
                    self.backends.extend((first..=last).map(|port| (address, Some(port))));
                }
            }
        }
    }

    /// Whether the table translates no flow.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty() || self.exact.is_empty() && self.others.is_empty()
    }

    /// Whether the table may have translated a flow.
    pub(super) fn translated(&self, flow: &Flow) -> bool {
        let Flow { protocol, to, backend, .. } = *flow;
        let keeps_port = to.port() == backend.port() && self.backends.contains(&(backend.ip(), None));
        let goes = keeps_port || self.backends.contains(&(backend.ip(), Some(backend.port())));
        let others = || self.others.get(&(protocol, Ip::of(to.ip()))).into_iter().flatten();
        let matches = |(address, ports): &(Address, Ports)| {
            address.exact().is_none_or(|address| address == to.ip()) && ports.contains(to.port())
        };
        let came_in = || self.exact.contains(&(protocol, to)) || others().any(matches);
        flow.is_translated && goes && came_in()
    }
}

/// Parses a key of address, protocol and port.
fn exact(key: &Key) -> Option<(Protocol, SocketAddr)> {
    let (address, protocol, port) = listener(key)?;
    Some((Protocol::from_number(protocol)?, SocketAddr::new(address, port)))
}

/// Parses a key of address, protocol, backend address and backend port.
fn behind(key: &Key, ip: Ip) -> Option<(IpAddr, Option<u16>)> {
    let (_, rest) = ip.split_address(key.as_slice())?;
    place(rest.get(4..)?, ip).filter(|(_, port)| port.is_some())
}

/// Parses an address, or an address and a port.
fn place(value: &[u8], ip: Ip) -> Option<(IpAddr, Option<u16>)> {
    match ip.split_address(value)? {
        (address, []) => Some((address, None)),
        (address, &[high, low, _, _]) => Some((address, Some(u16::from_be_bytes([high, low])))),
        _ => None,
    }
}
