//! The model of how backends are recognised in the next file.

use std::sync::Arc;

use sluice_core::model::{Backend, BackendKey, HealthCheck, Service, ServiceName, Services};

use crate::model::key;

/// The check of a backend and the port it asks, if it is probed.
pub fn watched(service: &Service, backend: &Backend) -> Option<(Arc<HealthCheck>, u16)> {
    let check = service.health.clone().filter(|_| service.enabled)?;
    Some((check, service.probe_port(backend).unwrap_or(0)))
}

/// What a backend was called before: its health goes by address and port, what an operator said goes by name. A service
/// whose name is new may be one that is gone and listened where it does.
pub fn former(
    old: &Services,
    new: &Services,
    name: &ServiceName,
    service: &Service,
    backend: &Backend,
    by_address: bool,
) -> Option<BackendKey> {
    let is_gone = |before: &ServiceName| !new.contains_key(before);
    let before: Vec<_> = match old.get_key_value(name) {
        Some(there) => vec![there],
        None => {
            let listened =
                |listener| move |(_, it): &(&ServiceName, &Service)| it.listeners.contains(listener);
            let gone = || old.iter().filter(|(before, _)| is_gone(before));
            service.listeners.iter().flat_map(|listener| gone().filter(listened(listener))).collect()
        }
    };
    let is_renamed = !old.contains_key(name);
    before.into_iter().find_map(|(before, there)| {
        let port = backend.port_behind(&service.listeners);
        let same_port = |it: &Backend| port.is_some() && it.port_behind(&there.listeners) == port;
        let same_place =
            |it: &&Backend| it.address == backend.address && (it.port == backend.port || same_port(it));
        let same_name = |it: &&Backend| it.name == backend.name;
        let same_host = |it: &&Backend| same_name(it) && it.address == backend.address;
        let mut all = there.backends.iter();
        let found = match by_address {
            true if is_renamed => all.find(same_place),
            true => all.find(same_place).or_else(|| there.backends.iter().find(same_host)),
            false => all.find(same_name).or_else(|| there.backends.iter().find(same_place)),
        };
        found.map(|found| key(before, found))
    })
}
