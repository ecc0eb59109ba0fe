//! Applies counts of live flows: shares of `least-connections`, and `max_connections`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sluice_core::model::{BackendName, Service, ServiceName, Services};
use sluice_core::render::slots::grid;
use sluice_nft::Dataplane;

use crate::conntrack::counter::FlowCount;
use crate::daemon::Daemon;
use crate::pool::backend_states::{follows_load, key};
use crate::reconcile::Trigger;

/// Maximum number of slots that change after one count, over all services. The services with the largest deviation come first.
const BUDGET: usize = 8192;

/// The services that depend on counts of flows.
#[derive(Debug, Default)]
pub(crate) struct LoadFollower {
    services: BTreeSet<ServiceName>,
    /// The last count.
    last: Option<Instant>,
    /// Services whose shares must change, and the number of their misplaced flows.
    rebalance_queue: BTreeMap<ServiceName, u32>,
}

impl LoadFollower {
    /// Applies another configuration.
    pub(crate) fn replace(&mut self, file: &Services) {
        let follows = file.iter().filter(|(_, service)| follows(service)).map(|(name, _)| name.clone());
        self.services = follows.collect();
        self.rebalance_queue.retain(|name, _| self.services.contains(name));
    }

    /// Whether there are any such services.
    pub(crate) fn any(&self) -> bool {
        !self.services.is_empty()
    }
}

impl<D: Dataplane> Daemon<D> {
    /// Adapts shares to a count of flows, and excludes full backends.
    pub(crate) async fn follow_load(&mut self, FlowCount { flow_counts, at, .. }: FlowCount) {
        let file = &self.config.services;
        let LoadFollower { services, last, rebalance_queue } = &mut self.load_follower;
        let elapsed = last.replace(at).map_or(Duration::from_secs(1), |last| at.duration_since(last));
        let loads = flow_counts.by_backend(file, |name| services.contains(name));
        let mut now = BTreeSet::new();
        for name in services.iter() {
            let service = &file[name];
            let load = |backend: &BackendName| loads.get(&(name, backend)).copied().unwrap_or_default();
            for backend in &service.backends {
                let is_full = backend.max_connections.is_some_and(|max| load(&backend.name).active >= max);
                if self.backend_states.set_full(&key(name, backend), is_full) {
                    now.insert(name.clone());
                }
            }
            if follows_load(service) {
                let misplaced = self.backend_states.balance(name, service, load, elapsed);
                if misplaced > 0 {
                    rebalance_queue.insert(name.clone(), misplaced);
                }
            }
        }
        let mut most: Vec<_> =
            rebalance_queue.iter().map(|(name, misplaced)| (Reverse(*misplaced), name)).collect();
        most.sort();
        let mut slots = 0;
        for (_, name) in most {
            slots += grid(file[name].backends.len());
            if slots > BUDGET && !now.is_empty() {
                break;
            }
            now.insert(name.clone());
        }
        rebalance_queue.retain(|name, _| !now.contains(name));
        // The error was logged and is kept for the status; no client waits for it.
        let _ = self.apply_effective(Trigger::Load, &now).await;
    }
}

fn follows(service: &Service) -> bool {
    let is_limited = || service.backends.iter().any(|backend| backend.max_connections.is_some());
    follows_load(service) || service.enabled && is_limited()
}
