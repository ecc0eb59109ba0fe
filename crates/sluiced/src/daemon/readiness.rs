//! Publishes the readiness of services, and records events when it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice_api::{EventKind, HookStatus, Severity};
use sluice_core::model::ServiceName;
use sluice_core::pool::readiness::NotReady;
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::announce::Report;
use crate::daemon::Daemon;
use crate::hooks::{HOOK_TIMEOUT, LastHooks};
use crate::pool::readiness::Readiness;

impl<D: Dataplane> Daemon<D> {
    /// The readiness of all services at this moment.
    pub(crate) fn current_readiness(&self) -> Readiness {
        Readiness {
            services: self.config.services.clone(),
            quorums: self.backend_states.quorums.clone(),
            node: match (self.is_stopping, &self.left) {
                (true, _) => Some(NotReady::Stopping),
                (false, Some(_)) => Some(NotReady::Left),
                (false, None) => self.out_of_sync().map(NotReady::OutOfSync),
            },
        }
    }

    /// Publishes the readiness of services if it may have changed: after each event, and after each change of health, which may
    /// be one of several during an event. Orders the addresses that follow from it; the receiver gets the report.
    pub(crate) fn publish_readiness(&mut self) -> Option<oneshot::Receiver<Arc<Report>>> {
        let now = self.current_readiness();
        let before = self.readiness.borrow().clone();
        if now.is_same(&before) {
            return None;
        }
        for name in Readiness::may_differ(&before, &now) {
            self.note_readiness(&name, before.apart_from_node(&name), now.apart_from_node(&name));
        }
        self.readiness.send_replace(now);
        self.announce()
    }

    /// Publishes that no service is ready any more because the daemon stops, and waits for the hooks.
    pub(crate) async fn end_readiness(&mut self, hooks: LastHooks) {
        self.is_stopping = true;
        self.publish_readiness();
        self.follow_health_until(async { drop(timeout(HOOK_TIMEOUT, hooks.ended()).await) }).await;
    }

    /// Records a run of a hook.
    pub(crate) fn note_hook(&mut self, name: ServiceName, status: HookStatus) {
        if status.ok != Some(true) {
            let text = format!("{}: {}", status.hook, status.detail);
            self.events.of_service(&name, EventKind::Readiness, Severity::Warning, text);
        }
        let services = &self.config.services;
        self.hooks.retain(|name, _| services.contains_key(name));
        self.hooks.insert(name, status);
    }

    /// Records that a service gained or lost its quorum. Other reasons have events of their own.
    fn note_readiness(
        &mut self,
        name: &ServiceName,
        before: Option<Result<(), NotReady>>,
        now: Option<Result<(), NotReady>>,
    ) {
        match (before, now) {
            (Some(Err(_)), Some(Ok(()))) => {
                info!("{name}: quorum met");
                self.events.of_service(name, EventKind::Readiness, Severity::Info, "quorum met");
            }
            (Some(Ok(())) | None | Some(Err(NotReady::Disabled)), Some(Err(why)))
                if why != NotReady::Disabled =>
            {
                warn!("{name}: {why}");
                self.events.of_service(name, EventKind::Readiness, Severity::Error, why.to_string());
            }
            _ => {}
        }
    }
}

impl Readiness {
    /// The services whose own state may differ between two moments.
    fn may_differ(before: &Readiness, now: &Readiness) -> BTreeSet<ServiceName> {
        let mut names = BTreeSet::new();
        if before.services != now.services {
            names.extend(now.services.keys().cloned());
        } else if before.quorums != now.quorums {
            names.extend(before.quorums.services().chain(now.quorums.services()).cloned());
        }
        names
    }
}
