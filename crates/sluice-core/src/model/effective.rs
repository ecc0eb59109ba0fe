//! [`EffectiveServices`]: the services of the file with their effective weights.

use std::sync::Arc;

use std::collections::BTreeMap;

use super::{Networks, Service, ServiceName, Services};

static NONE: Services = BTreeMap::new();
static NOWHERE: Networks = Networks::NONE;

/// The services of the file, some of them replaced by effective ones: with the weights that follow from
/// health, overrides and load. Usually few differ, so they are layers over the file; the last layer with a
/// service has precedence.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveServices<'a> {
    file: &'a Services,
    instead: [&'a Services; 2],
    networks: &'a Networks,
}

impl<'a> EffectiveServices<'a> {
    /// All services of `instead` must be in `file`.
    pub fn new(file: &'a Services, instead: &'a Services) -> Self {
        EffectiveServices { file, instead: [instead, &NONE], networks: &NOWHERE }
    }

    /// The same services on a host with these networks.
    pub fn with_networks(self, networks: &'a Networks) -> Self {
        EffectiveServices { networks, ..self }
    }

    /// Networks of the host.
    pub fn networks(&self) -> &'a Networks {
        self.networks
    }

    /// The same services with another layer; its services must be in the file.
    pub fn overlay(self, changed: &'a Services) -> Self {
        EffectiveServices { instead: [self.instead[0], changed], ..self }
    }

    /// The effective service with a name.
    pub fn get(&self, name: &ServiceName) -> Option<&'a Service> {
        let [earlier, later] = self.instead;
        later.get(name).or_else(|| earlier.get(name)).or_else(|| self.file.get(name))
    }

    /// All services by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a ServiceName, &'a Service)> + use<'a> {
        let EffectiveServices { file, instead: [earlier, later], .. } = *self;
        let other = |name| later.get(name).or_else(|| earlier.get(name));
        file.iter().map(move |(name, service)| (name, other(name).unwrap_or(service)))
    }
}

/// Effective services without a borrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedEffectiveServices {
    file: Arc<Services>,
    instead: Services,
}

impl OwnedEffectiveServices {
    /// Copies the services that differ from `file`.
    pub fn new(file: Arc<Services>, services: EffectiveServices<'_>) -> Self {
        let instead = services.instead.iter().flat_map(|layer| layer.keys());
        let instead = instead.filter_map(|name| Some((name.clone(), services.get(name)?.clone())));
        OwnedEffectiveServices { instead: instead.collect(), file }
    }
}

impl From<Arc<Services>> for OwnedEffectiveServices {
    fn from(file: Arc<Services>) -> Self {
        OwnedEffectiveServices { file, instead: NONE.clone() }
    }
}

impl<'a> From<&'a OwnedEffectiveServices> for EffectiveServices<'a> {
    fn from(services: &'a OwnedEffectiveServices) -> Self {
        EffectiveServices::new(&services.file, &services.instead)
    }
}

impl<'a> From<&'a Arc<Services>> for EffectiveServices<'a> {
    fn from(services: &'a Arc<Services>) -> Self {
        EffectiveServices::from(&**services)
    }
}

impl<'a> From<&'a Services> for EffectiveServices<'a> {
    fn from(file: &'a Services) -> Self {
        EffectiveServices::new(file, &NONE)
    }
}
