//! The model of quorums: which services have enough eligible backends, and so which are ready.

use std::collections::{BTreeMap, BTreeSet};

use sluice_api::Status;
use sluice_core::model::{Service, ServiceName, Services};
use sluice_core::pool::health::Admin;

use crate::model::{Model, key};

/// Quorums of the services, all of whose backends have IPv4 addresses.
#[derive(Default)]
pub struct Quorums {
    met: BTreeSet<ServiceName>,
    /// Services of which a backend came and another went since the oracles last looked: the daemon may have noticed both at once.
    pub turned: BTreeMap<ServiceName, [bool; 2]>,
}

impl Quorums {
    pub fn is_met(&self, name: &ServiceName) -> bool {
        self.met.contains(name)
    }

    /// The service whose decision a service continues.
    fn former<'a>(old: &'a Services, new: &Services, name: &ServiceName) -> Option<&'a ServiceName> {
        if let Some((before, _)) = old.get_key_value(name) {
            return Some(before);
        }
        let listens = |listener| {
            let mut gone = old.iter().filter(|(before, _)| !new.contains_key(*before));
            gone.find(|(_, it)| it.listeners.contains(listener))
        };
        new[name].listeners.iter().find_map(listens).map(|(before, _)| before)
    }
}

impl Model {
    /// Backends that count for the quorum of a service: as many as these, or these backups.
    fn counted(&self, name: &ServiceName, service: &Service, backup: bool) -> usize {
        let counts = |backend: &&sluice_core::model::Backend| {
            let key = key(name, backend);
            let weight = self.weight(&key).unwrap_or(backend.weight);
            backend.backup == backup && self.is_up(&key) && self.admin(&key) == Admin::Enabled && weight > 0
        };
        service.backends.iter().filter(counts).count()
    }

    /// Decides about a service of which something changed.
    pub fn decide(&mut self, name: &ServiceName) {
        let Some(service) = self.services().get(name) else { return };
        let (count, quorum) = (self.counted(name, service, false), service.quorum);
        let (up, down) = (usize::from(quorum.up), usize::from(quorum.down));
        if count >= up {
            self.quorums.met.insert(name.clone());
        } else if count < down || !service.enabled {
            self.quorums.met.remove(name);
        }
    }

    /// Decides about all services after a reload or a restart, which remembers only what the counts do not tell.
    pub fn decide_all(&mut self, old: &Services, is_restart: bool) {
        let met = std::mem::take(&mut self.quorums.met);
        let names: Vec<_> = self.services().keys().cloned().collect();
        for name in names {
            let former = Quorums::former(old, self.services(), &name);
            let is_known = |before: &&ServiceName| {
                let before = &old[*before];
                before.enabled && (!is_restart || before.quorum.down < before.quorum.up)
            };
            if former.filter(is_known).is_some_and(|before| met.contains(before)) {
                self.quorums.met.insert(name.clone());
            }
            self.decide(&name);
        }
    }

    /// Takes over what the daemon decided where it cannot be known: of all services, or of those with backends that came and
    /// went.
    pub fn adopt_quorums(&mut self, status: &Status, all: bool) {
        for service in &status.services {
            let name = ServiceName::new(&service.name).expect("a name");
            if all || self.quorums.turned.get(&name) == Some(&[true, true]) {
                match service.quorum.met {
                    true => drop(self.quorums.met.insert(name.clone())),
                    false => drop(self.quorums.met.remove(&name)),
                }
                self.decide(&name);
            }
        }
        self.quorums.turned.clear();
    }

    /// Whether a service of a daemon in sync is ready.
    pub fn is_ready(&self, name: &ServiceName, service: &Service) -> bool {
        !self.has_left
            && service.enabled
            && (self.quorums.is_met(name) || self.counted(name, service, true) > 0)
    }

    /// Whether the decision about a service depends on the one before.
    pub fn is_between(&self, name: &ServiceName, service: &Service) -> bool {
        let count = self.counted(name, service, false);
        (service.quorum.down.into()..service.quorum.up.into()).contains(&count)
    }
}
