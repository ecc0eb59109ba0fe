//! How many flows backends have.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::balance::Load;
use crate::model::{BackendName, ServiceName, Services};
use crate::owners::{exact, exact_places, goes, pairs};

/// A count of translated flows, by where they came in and where they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(HashMap<Way, Load>);

/// Loads of backends; those without flows are left out.
pub type Loads<'a> = HashMap<(&'a ServiceName, &'a BackendName), Load>;

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// Number of its protocol.
    pub protocol: u8,
    /// What the client addressed.
    pub to: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
}

impl Census {
    /// Counts flows.
    pub fn add(&mut self, way: Way, Load { active, opened }: Load) {
        let load = self.0.entry(way).or_default();
        load.active += active;
        load.opened += opened;
    }

    /// Flows of the backends of some services; all services of the file tell what else may have taken a flow.
    pub fn by_backend<'a>(&self, all: &'a Services, wanted: impl Fn(&ServiceName) -> bool) -> Loads<'a> {
        let mut loads = Loads::new();
        let mut rest = None;
        for (name, service) in all.iter().filter(|(name, service)| service.enabled && wanted(name)) {
            for (listener, backend) in pairs(service) {
                let load = match exact(listener) {
                    Some(to) => {
                        let backend = SocketAddr::new(
                            backend.address,
                            backend.port.translate(listener.ports, to.port()),
                        );
                        let way = Way { protocol: listener.protocol.number(), to, backend };
                        self.0.get(&way).copied().unwrap_or_default()
                    }
                    None => {
                        let rest = rest.get_or_insert_with(|| self.without_exact(all));
                        let fits = rest.iter().filter(|(way, _)| goes(way, listener, backend));
                        fits.fold(Load::default(), |sum, (_, load)| sum.and(**load))
                    }
                };
                if load != Load::default() {
                    let sum = loads.entry((name, &backend.name)).or_default();
                    *sum = sum.and(load);
                }
            }
        }
        loads
    }

    /// Flows that no listener with one address and port takes.
    fn without_exact(&self, services: &Services) -> Vec<(&Way, &Load)> {
        let exact: HashSet<(u8, SocketAddr)> = exact_places(services).collect();
        self.0.iter().filter(|(way, _)| !exact.contains(&(way.protocol, way.to))).collect()
    }
}

impl Load {
    fn and(self, other: Load) -> Load {
        Load { active: self.active + other.active, opened: self.opened + other.opened }
    }
}
