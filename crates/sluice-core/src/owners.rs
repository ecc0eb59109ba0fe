//! Whose a flow is that conntrack knows.
//!
//! A flow is of a backend if it came in through a listener of its service and goes where that leads. What came in
//! where some listener has one address and port is of that listener alone. Where wildcards and ranges overlap and lead
//! to the same backend nobody can tell, and the flow is of all of them.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use sluice_nft::Ip;

use crate::census::Way;
use crate::model::{Address, Backend, BackendName, Listener, Service, ServiceName, Services};

/// Services, by what flows are looked up with.
#[derive(Clone, Debug)]
pub struct Owners<'a> {
    exact: HashMap<(u8, SocketAddr), Vec<Entry<'a>>>,
    others: Vec<Entry<'a>>,
    /// Where listeners of anybody have one address and port, if there are `others`.
    taken: HashSet<(u8, SocketAddr)>,
}

/// A listener that flows may have come in through.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    name: &'a ServiceName,
    service: &'a Service,
    listener: &'a Listener,
}

impl<'a> Owners<'a> {
    /// Those of some services; all services of the file tell what else may have taken a flow.
    pub fn of(all: &'a Services, wanted: impl Fn(&ServiceName) -> bool) -> Self {
        let mut owners = Owners { exact: HashMap::new(), others: vec![], taken: HashSet::new() };
        for (name, service) in all.iter().filter(|(name, service)| service.enabled && wanted(name)) {
            for listener in &service.listeners {
                let entry = Entry { name, service, listener };
                match exact(listener) {
                    Some(to) => owners.exact.entry((listener.protocol.number(), to)).or_default().push(entry),
                    None => owners.others.push(entry),
                }
            }
        }
        if !owners.others.is_empty() {
            owners.taken = exact_places(all).collect();
        }
        owners
    }

    /// Backends that a flow is of.
    pub fn backends(&self, way: &Way) -> impl Iterator<Item = (&'a ServiceName, &'a BackendName)> {
        let at = (way.protocol, way.to);
        let others = if self.taken.contains(&at) { &[][..] } else { &self.others };
        let entries = self.exact.get(&at).into_iter().flatten().chain(others);
        entries.flat_map(move |&Entry { name, service, listener }| {
            let fits = |backend: &&Backend| goes(way, listener, backend);
            service.backends.iter().filter(fits).map(move |backend| (name, &backend.name))
        })
    }
}

/// Where listeners have one address and port.
pub(crate) fn exact_places(services: &Services) -> impl Iterator<Item = (u8, SocketAddr)> {
    let enabled = services.values().filter(|service| service.enabled);
    let listeners = enabled.flat_map(|service| &service.listeners);
    listeners.filter_map(|listener| Some((listener.protocol.number(), exact(listener)?)))
}

/// Listeners and those who serve behind them.
pub(crate) fn pairs(service: &Service) -> impl Iterator<Item = (&Listener, &Backend)> {
    let all =
        service.listeners.iter().flat_map(|listener| service.backends.iter().map(move |b| (listener, b)));
    all.filter(|(listener, backend)| service.takes(listener, Ip::of(backend.address)))
}

/// The one place that clients can address.
pub(crate) fn exact(listener: &Listener) -> Option<SocketAddr> {
    match listener.address {
        Address::Any => None,
        Address::Exact(address) => Some(SocketAddr::new(address, listener.ports.as_single()?)),
    }
}

/// Whether a flow may have come through this listener to this backend.
pub(crate) fn goes(way: &Way, listener: &Listener, backend: &Backend) -> bool {
    let Way { protocol, to, backend: behind } = *way;
    protocol == listener.protocol.number()
        && [Address::Any, Address::Exact(to.ip())].contains(&listener.address)
        && (listener.ports.first..=listener.ports.last).contains(&to.port())
        && behind == SocketAddr::new(backend.address, backend.port.translate(listener.ports, to.port()))
}
