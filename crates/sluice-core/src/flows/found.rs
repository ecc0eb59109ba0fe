//! Flows that a table in the kernel may have translated, whoever made it and whatever of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use sluice_nft::{Data, Ip, Table};

use super::Flow;
use crate::model::{Address, Ports, Protocol};
use crate::render::{capacity, names};

/// What a table of ours leads where, as far as that can be read from it without its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Listeners with one address and port.
    exact: HashSet<(Protocol, SocketAddr)>,
    /// Others, by protocol and IP version.
    others: HashMap<(Protocol, Ip), BTreeSet<(Address, Ports)>>,
    /// Where flows go, and to which port; `None`: to the one that the client asked for.
    backends: HashSet<(IpAddr, Option<u16>)>,
}

impl Found {
    /// Of a table as it was read.
    pub fn of(table: &Table) -> Self {
        let mut found = Found::default();
        for ip in Ip::ALL {
            let maps = table.sets.iter().filter(|(name, _)| capacity::is_called(name, &names::services(ip)));
            for key in maps.flat_map(|(_, set)| set.elements.keys()) {
                found.exact.extend(exact(key.as_slice(), ip));
            }
        }
        for (protocol, ip, address, ports) in table.chains.keys().filter_map(names::listener_of) {
            found.others.entry((protocol, ip)).or_default().insert((address, ports));
        }
        for set in table.sets.values() {
            let values = set.elements.values().filter_map(|element| match &element.data {
                Data::Value(value) => place(value.as_slice()),
                _ => None,
            });
            found.backends.extend(values);
        }
        // Backends that take no new flows have no slots.
        for ip in Ip::ALL {
            let sets = table.sets.iter().filter(|(name, _)| names::is_source(name));
            for key in sets.flat_map(|(_, set)| set.elements.keys()) {
                found.backends.extend(behind(key.as_slice(), ip));
            }
        }
        found
    }

    /// Whether it leads nobody anywhere.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty() || self.exact.is_empty() && self.others.is_empty()
    }

    /// Whether it may have translated a flow.
    pub(super) fn translated(&self, flow: &Flow) -> bool {
        let Flow { protocol, to, backend, .. } = *flow;
        let keeps_port = to.port() == backend.port() && self.backends.contains(&(backend.ip(), None));
        let goes = keeps_port || self.backends.contains(&(backend.ip(), Some(backend.port())));
        let came_in = || {
            self.exact.contains(&(protocol, to))
                || self.others.get(&(protocol, Ip::of(to.ip()))).into_iter().flatten().any(
                    |(address, ports)| {
                        [Address::Any, Address::Exact(to.ip())].contains(address) && ports.contains(to.port())
                    },
                )
        };
        flow.is_translated && goes && came_in()
    }
}

/// A key of address, protocol and port.
fn exact(key: &[u8], ip: Ip) -> Option<(Protocol, SocketAddr)> {
    let (address, rest) = key.split_at_checked(width(ip))?;
    let [protocol, _, _, _, high, low, _, _] = *rest else { return None };
    let to = SocketAddr::new(self::address(address)?, u16::from_be_bytes([high, low]));
    Some((Protocol::from_number(protocol)?, to))
}

/// A key of address, protocol, the backend's address and its port.
fn behind(key: &[u8], ip: Ip) -> Option<(IpAddr, Option<u16>)> {
    let rest = key.get(width(ip) + 4..)?;
    (rest.len() == width(ip) + 4).then(|| place(rest))?
}

/// An address, or an address and a port.
fn place(value: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let ip = if value.len() < width(Ip::V6) { Ip::V4 } else { Ip::V6 };
    let (address, rest) = value.split_at_checked(width(ip))?;
    let port = match *rest {
        [] => None,
        [high, low, _, _] => Some(u16::from_be_bytes([high, low])),
        _ => return None,
    };
    Some((self::address(address)?, port))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn width(ip: Ip) -> usize {
    match ip {
        Ip::V4 => 4,
        Ip::V6 => 16,
    }
}
