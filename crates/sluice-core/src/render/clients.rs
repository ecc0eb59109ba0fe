//! Client maps of affinity, and their elements that lead to a backend which clients must leave.

use std::collections::HashSet;

use sluice_nft::{Data, Ip, Key, Octets, SetName, Table};

use crate::model::{EffectiveServices, Service};
use crate::render::Frontend;
use crate::render::affinity::keeping;
use crate::render::{GroupNumbers, Remembered, SetId};

/// A map that holds the backends of clients.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Its name in the kernel.
    pub name: SetName,
    pub(super) ip: Ip,
    pub(super) kind: Remembered,
}

/// The client maps of a table.
pub fn maps(table: &Table) -> impl Iterator<Item = Clients> + '_ {
    let kinds = Ip::ALL.into_iter().flat_map(|ip| Remembered::ALL.map(|kind| (ip, kind)));
    let maps = kinds.map(|(ip, kind)| Clients { name: SetId::Clients(kind, ip).into(), ip, kind });
    maps.filter(|clients| table.sets.contains_key(&clients.name))
}

/// Whether a change of a service may make clients leave their backends.
pub fn may_evict(before: &Service, after: Option<&Service>) -> bool {
    let stays = |after: &Service| {
        after.affinity.is_some()
            && after.enabled == before.enabled
            && after.listeners == before.listeners
            && after.evict_from == before.evict_from
            && after.backends == before.backends
    };
    before.affinity.is_some() && !after.is_some_and(stays)
}

/// Clients, as addresses and ports of listeners with their group, and the backends that they may stay on.
#[derive(Debug)]
pub struct Keeping {
    ip: Ip,
    backends: HashSet<(Key, Octets<20>)>,
}

impl Keeping {
    /// Which backends of these services the clients of a map may stay on. `groups` are those of the table.
    pub fn of(services: EffectiveServices<'_>, groups: &GroupNumbers, clients: &Clients) -> Self {
        let affine = services.iter().filter(|(_, service)| service.affinity.is_some());
        let mut backends = HashSet::new();
        for frontend in affine.flat_map(|(name, service)| Frontend::of(name, service)) {
            let Some((address, port)) = frontend.exact().filter(|_| frontend.ip == clients.ip) else {
                continue;
            };
            let Some(number) = groups.0.get(&(address, frontend.protocol(), port)) else { continue };
            let group = Key::EMPTY.address(address).slot(*number);
            for backend in keeping(&frontend).filter(|backend| Remembered::of(backend) == clients.kind) {
                backends.insert((group, clients.kind.data(&frontend, backend, port)));
            }
        }
        Keeping { ip: clients.ip, backends }
    }

    /// The elements of the map whose backend was removed from its service, is down or is disabled.
    pub fn stale(&self, mut elements: Vec<(Key, Data)>) -> Vec<(Key, Data)> {
        elements.retain(|(key, data)| match (data, self.ip.split_address(key.as_slice())) {
            (Data::Value(backend), Some((_, group))) => {
                !self.backends.contains(&(Key::EMPTY.with(group), *backend))
            }
            _ => true,
        });
        elements
    }
}
