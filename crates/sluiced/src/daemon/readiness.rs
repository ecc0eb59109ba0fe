//! Publishes the readiness of services, and records events when it changes.

use std::collections::BTreeSet;

use sluice_api::{EventKind, Severity};
use sluice_core::model::ServiceName;
use sluice_core::pool::readiness::NotReady;
use sluice_nft::Dataplane;
use tracing::{info, warn};

use crate::daemon::Daemon;
use crate::pool::readiness::Readiness;

impl<D: Dataplane> Daemon<D> {
    /// The readiness of all services at this moment.
    pub(crate) fn current_readiness(&self) -> Readiness {
        Readiness {
            services: self.config.services.clone(),
            quorums: self.backend_states.quorums.clone(),
            out_of_sync: self.out_of_sync().map(Into::into),
        }
    }

    /// Publishes the readiness of services if it may have changed: after each event, and after each change of health, which may
    /// be one of several during an event.
    pub(crate) fn publish_readiness(&mut self) {
        let now = self.current_readiness();
        let before = self.readiness.borrow().clone();
        if now.is_same(&before) {
            return;
        }
        for name in Readiness::may_differ(&before, &now) {
            self.note_readiness(&name, before.apart_from_sync(&name), now.apart_from_sync(&name));
        }
        self.readiness.send_replace(now);
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
