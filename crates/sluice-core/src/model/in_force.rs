//! Services as they serve now.

use std::sync::Arc;

use std::collections::BTreeMap;

use super::{Networks, Service, ServiceName, Services};

static NONE: Services = BTreeMap::new();
static NOWHERE: Networks = Networks::NONE;

/// The services of the file, in place of some of which others are in force: with weights as health, operators and
/// load have them. Few differ mostly, so those are kept beside the file's; the last layer that has a service counts.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    file: &'a Services,
    instead: [&'a Services; 2],
    networks: &'a Networks,
}

impl<'a> InForce<'a> {
    /// All of `instead` are in `file`, too.
    pub fn new(file: &'a Services, instead: &'a Services) -> Self {
        InForce { file, instead: [instead, &NONE], networks: &NOWHERE }
    }

    /// The same on a host with these networks.
    pub fn on(self, networks: &'a Networks) -> Self {
        InForce { networks, ..self }
    }

    /// The host's networks.
    pub fn networks(&self) -> &'a Networks {
        self.networks
    }

    /// The same, but for some services that are in the file, too.
    pub fn but(self, changed: &'a Services) -> Self {
        InForce { instead: [self.instead[0], changed], ..self }
    }

    /// By name.
    pub fn get(&self, name: &ServiceName) -> Option<&'a Service> {
        let [earlier, later] = self.instead;
        later.get(name).or_else(|| earlier.get(name)).or_else(|| self.file.get(name))
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a ServiceName, &'a Service)> + use<'a> {
        let InForce { file, instead, .. } = *self;
        let same = instead.iter().all(|layer| layer.is_empty());
        file.iter().map(move |(name, service)| {
            let other = if same { None } else { instead[1].get(name).or_else(|| instead[0].get(name)) };
            (name, other.unwrap_or(service))
        })
    }
}

/// The same, for those who outlive what it was taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicesInForce {
    file: Arc<Services>,
    instead: Services,
}

impl ServicesInForce {
    /// `services` are those of `file`, or in force in their place.
    pub fn new(file: Arc<Services>, services: InForce<'_>) -> Self {
        let instead = services.instead.iter().flat_map(|layer| layer.keys());
        let instead = instead.filter_map(|name| Some((name.clone(), services.get(name)?.clone())));
        ServicesInForce { instead: instead.collect(), file }
    }
}

impl From<Arc<Services>> for ServicesInForce {
    fn from(file: Arc<Services>) -> Self {
        ServicesInForce { file, instead: NONE.clone() }
    }
}

impl<'a> From<&'a ServicesInForce> for InForce<'a> {
    fn from(services: &'a ServicesInForce) -> Self {
        InForce::new(&services.file, &services.instead)
    }
}

impl<'a> From<&'a Arc<Services>> for InForce<'a> {
    fn from(services: &'a Arc<Services>) -> Self {
        InForce::from(&**services)
    }
}

impl<'a> From<&'a Services> for InForce<'a> {
    fn from(file: &'a Services) -> Self {
        InForce::new(file, &NONE)
    }
}
