//! Which backend of the file before a backend of a new file is.
//!
//! Pure. The file may change names, addresses and ports, by a reload or between two daemons (then the file before is what
//! was saved of it), and what is known of a backend has to follow it. There are two answers, because there are two kinds of knowledge. Health was observed at an address, so it follows the address
//! first. What an operator said, and what is counted, belongs to a name as long as that name exists.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sluice_core::model::{Backend, BackendKey, Listener, Service, ServiceName, Services};

/// Backends of a new file and the backends of the file before that they continue.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    old: &'a Services,
    new: &'a Services,
    /// Services that are not in the new file any more, by each of their listeners.
    gone: HashMap<&'a Listener, Vec<&'a ServiceName>>,
}

impl<'a> Identity<'a> {
    /// Compares the services of two files.
    pub(crate) fn between(old: &'a Services, new: &'a Services) -> Self {
        let mut gone: HashMap<_, Vec<_>> = HashMap::new();
        if new.keys().any(|name| !old.contains_key(name)) {
            for (name, service) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                service.listeners.iter().for_each(|listener| gone.entry(listener).or_default().push(name));
            }
        }
        Identity { old, new, gone }
    }

    /// The old file and the new one.
    pub(crate) fn files(&self) -> (&'a Services, &'a Services) {
        (self.old, self.new)
    }

    /// The service before. That of the same name; where the name is new, one that is gone and shared a listener.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&'a ServiceName> {
        if let Some((before, _)) = self.old.get_key_value(name) {
            return Some(before);
        }
        self.renamed(name).next()
    }

    /// The backend whose health a backend of the new file has: in the same service the one at the same address and
    /// port, else the one of the same name at the same address. Where the name of the service is new, one at the same
    /// address and port of a service that is gone and shared a listener.
    pub(crate) fn health(&self, name: &ServiceName, backend: &Backend) -> Option<BackendKey> {
        let service = self.new.get(name)?;
        match self.old.get_key_value(name) {
            Some((name, old)) => {
                let moved = || {
                    old.backends.iter().find(|it| it.name == backend.name && it.address == backend.address)
                };
                at_place(old, (service, backend)).or_else(moved).map(|it| key(name, it))
            }
            None => {
                let mut gone = self.renamed(name);
                gone.find_map(|name| Some(key(name, at_place(&self.old[name], (service, backend))?)))
            }
        }
    }

    /// The backend whose override, ramp and load a backend of the new file has: in the same service the one of the same
    /// name; where the name is new, the one at the same address and port. The same in a service that is gone and
    /// shared a listener, where the name of the service is new.
    pub(crate) fn settings(&self, name: &ServiceName, backend: &Backend) -> Option<BackendKey> {
        let service = self.new.get(name)?;
        let within = |(name, old): (&ServiceName, &Service)| {
            let named = old.backends.iter().find(|it| it.name == backend.name);
            named.or_else(|| at_place(old, (service, backend))).map(|it| key(name, it))
        };
        match self.old.get_key_value(name) {
            Some(before) => within(before),
            None => self.renamed(name).find_map(|name| within((name, &self.old[name]))),
        }
    }

    /// Services that are gone and shared a listener with this one, whose name is new. Each comes up once a listener.
    fn renamed(&self, name: &ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        let listeners = self.new.get(name).into_iter().flat_map(|service| &service.listeners);
        listeners.filter_map(|listener| self.gone.get(listener)).flatten().copied()
    }
}

/// The backend of an old service that is at the address and port of a backend of a new one.
fn at_place<'a>(old: &'a Service, (service, backend): (&Service, &Backend)) -> Option<&'a Backend> {
    let port = backend.port_behind(&service.listeners);
    old.backends.iter().find(|it| {
        let same_port = || port.is_some() && it.port_behind(&old.listeners) == port;
        it.address == backend.address && (it.port == backend.port || same_port())
    })
}

fn key(service: &ServiceName, backend: &Backend) -> BackendKey {
    BackendKey { service: service.clone(), backend: backend.name.clone() }
}
