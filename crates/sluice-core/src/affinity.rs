//! Clients that must not stay where they are.

use std::collections::HashSet;

use sluice_nft::{Data, Ip, Key, Octets, SetName, Table};

use crate::model::InForce;
use crate::render::affinity::keeping;
use crate::render::entry::Entry;
use crate::render::names;

/// The maps that remember clients, of those that a table has.
pub fn maps(table: &Table) -> impl Iterator<Item = (Ip, SetName)> + '_ {
    let maps = Ip::ALL.into_iter().map(|ip| (ip, names::clients(ip)));
    maps.filter(|(_, name)| table.sets.contains_key(name))
}

/// Elements of such a map that lead to a backend which its service no longer has, or which is down or disabled.
pub fn stale(services: InForce<'_>, ip: Ip, elements: Vec<(Key, Data)>) -> Vec<(Key, Data)> {
    let affine = services.iter().filter(|(_, service)| service.affinity.is_some());
    let mut held = HashSet::new();
    for entry in affine.flat_map(|(name, service)| Entry::of(name, service)).filter(|entry| entry.ip == ip) {
        let Some((address, port)) = entry.exact() else { continue };
        let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
        for backend in keeping(&entry) {
            let port = backend.port.translate(entry.listener.ports, port);
            held.insert((listener, Octets::EMPTY.address(backend.address).port(port)));
        }
    }
    let width = if ip == Ip::V4 { 4 } else { 16 };
    let is_held = |(key, data): &(Key, Data)| match data {
        Data::Value(backend) => held.contains(&(Key::EMPTY.with(&key.as_slice()[width..]), *backend)),
        _ => false,
    };
    elements.into_iter().filter(|element| !is_held(element)).collect()
}
