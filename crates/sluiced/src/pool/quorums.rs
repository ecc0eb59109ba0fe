//! [`Quorums`]: the services that lost their quorums, as the last decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_core::model::{Service, ServiceName, Services};
use sluice_core::pool::readiness::{Tally, versions};
use sluice_nft::Ip;

use crate::pool::identity::Identity;

/// The quorums that are not met, with the backends that counted. Those of other enabled services are met. Clones share the
/// data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quorums {
    lost: Arc<BTreeMap<(ServiceName, Ip), Tally>>,
}

impl Quorums {
    /// The quorums of services of an earlier daemon, of which these were met.
    pub(crate) fn restored(services: &Services, met: &BTreeSet<(ServiceName, Ip)>) -> Self {
        let all = services.iter().flat_map(|(name, service)| versions(service).map(|ip| (name.clone(), ip)));
        let lost = all.filter(|key| !met.contains(key)).map(|key| (key, Tally::default()));
        Quorums { lost: Arc::new(lost.collect()) }
    }

    /// Whether the quorum of an enabled service was met when it was last decided.
    pub(crate) fn was_met(&self, name: &ServiceName, ip: Ip) -> bool {
        !self.lost.contains_key(&(name.clone(), ip))
    }

    /// The quorums that a service lost.
    pub(crate) fn lost(&self, name: &ServiceName) -> impl Iterator<Item = (Ip, &Tally)> {
        Ip::ALL.into_iter().filter_map(|ip| Some((ip, self.lost.get(&(name.clone(), ip))?)))
    }

    /// The services that lost a quorum, once for each.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.lost.keys().map(|(name, _)| name)
    }

    /// Decides about a service anew, with these counts of its backends. `was_met` is the previous decision.
    pub(crate) fn decide(
        &mut self,
        name: &ServiceName,
        service: &Service,
        was_met: impl Fn(Ip) -> bool,
        tally: impl Fn(Ip) -> Tally,
    ) {
        for ip in versions(service).filter(|_| service.enabled) {
            let (key, tally) = ((name.clone(), ip), tally(ip));
            let is_met = service.quorum.is_met(tally.eligible, was_met(ip));
            // Unchanged, it needs no copy.
            if self.lost.get(&key) == Some(&tally).filter(|_| !is_met) {
                continue;
            }
            let lost = Arc::make_mut(&mut self.lost);
            match is_met {
                true => drop(lost.remove(&key)),
                false => drop(lost.insert(key, tally)),
            }
        }
    }

    /// Met quorums whose decision depends on the previous one, for the next daemon.
    pub(crate) fn remembered<'a>(
        &'a self,
        services: &'a Services,
    ) -> impl Iterator<Item = (&'a ServiceName, Ip)> {
        let remember = services.iter().filter(|(_, it)| it.enabled && it.quorum.has_memory());
        let all = remember.flat_map(|(name, service)| versions(service).map(move |ip| (name, ip)));
        all.filter(|(name, ip)| self.was_met(name, *ip))
    }

    /// Whether the quorum of the service that a service continues was met.
    pub(crate) fn former(&self, identity: &Identity<'_>, name: &ServiceName, ip: Ip) -> bool {
        let (old, _) = identity.files();
        let former = identity.service(name).filter(|former| old[*former].enabled);
        former.is_some_and(|former| versions(&old[former]).any(|it| it == ip) && self.was_met(former, ip))
    }
}
