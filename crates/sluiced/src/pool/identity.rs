//! [`Identity`]: maps backends of a new file to backends of the old file whose state they continue. Pure.
//!
//! A reload, or a change of the file between two daemons, can change names, addresses and ports. (Between two daemons, the old
//! file is the saved state.) There are two mappings, because there are two kinds of state. Health was observed at an
//! address, so it follows the address first. Overrides and counts belong to a name as long as the name exists.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sluice_core::model::{Backend, BackendKey, Listener, Service, ServiceName, Services};

/// The mapping between the backends of two files.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    old: &'a Services,
    new: &'a Services,
    /// Services that are not in the new file, by each of their listeners.
    removed: HashMap<&'a Listener, Vec<&'a ServiceName>>,
}

impl<'a> Identity<'a> {
    /// Compares the services of two files.
    pub(crate) fn between(old: &'a Services, new: &'a Services) -> Self {
        let mut removed: HashMap<_, Vec<_>> = HashMap::new();
        if new.keys().any(|name| !old.contains_key(name)) {
            for (name, service) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                service.listeners.iter().for_each(|listener| removed.entry(listener).or_default().push(name));
            }
        }
        Identity { old, new, removed }
    }

    /// The old file and the new one.
    pub(crate) fn files(&self) -> (&'a Services, &'a Services) {
        (self.old, self.new)
    }

    /// The old service: the one with the same name; for a new name, a removed service that shared a listener.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&'a ServiceName> {
        if let Some((before, _)) = self.old.get_key_value(name) {
            return Some(before);
        }
        self.renamed(name).next()
    }

    /// The old backend whose health a new backend continues: in the same service, the backend with the same address and
    /// port, else the backend with the same name and address. If the name of the service is new, the backend
    /// with the same address and port of a removed service that shared a listener.
    pub(crate) fn health(&self, name: &ServiceName, backend: &Backend) -> Option<BackendKey> {
        let service = self.new.get(name)?;
        match self.old.get_key_value(name) {
            Some((name, old)) => {
                let moved = || {
                    old.backends.iter().find(|it| it.name == backend.name && it.address == backend.address)
                };
                at_endpoint(old, (service, backend)).or_else(moved).map(|it| key(name, it))
            }
            None => {
                let mut renamed = self.renamed(name);
                renamed.find_map(|name| Some(key(name, at_endpoint(&self.old[name], (service, backend))?)))
            }
        }
    }

    /// The old backend whose override, ramp and load a new backend continues: in the same service, the backend with the same
    /// name; if the name is new, the backend with the same address and port. If the name of the service is new, the same in a
    /// removed service that shared a listener.
    pub(crate) fn settings(&self, name: &ServiceName, backend: &Backend) -> Option<BackendKey> {
        let service = self.new.get(name)?;
        let within = |(name, old): (&ServiceName, &Service)| {
            let named = old.backends.iter().find(|it| it.name == backend.name);
            named.or_else(|| at_endpoint(old, (service, backend))).map(|it| key(name, it))
        };
        match self.old.get_key_value(name) {
            Some(before) => within(before),
            None => self.renamed(name).find_map(|name| within((name, &self.old[name]))),
        }
    }

    /// Removed services that shared a listener with a service whose name is new; once per shared listener.
    fn renamed(&self, name: &ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        let listeners = self.new.get(name).into_iter().flat_map(|service| &service.listeners);
        listeners.filter_map(|listener| self.removed.get(listener)).flatten().copied()
    }
}

/// The backend of an old service with the address and port of a backend of a new service.
fn at_endpoint<'a>(old: &'a Service, (service, backend): (&Service, &Backend)) -> Option<&'a Backend> {
    let port = backend.port_behind(&service.listeners);
    old.backends.iter().find(|it| {
        let same_port = || port.is_some() && it.port_behind(&old.listeners) == port;
        it.address == backend.address && (it.port == backend.port || same_port())
    })
}

fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}
