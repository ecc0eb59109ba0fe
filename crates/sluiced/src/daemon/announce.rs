//! Announces the addresses of ready services, and withdraws them before other changes take them away.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_api::{EventKind, Severity};
use sluice_core::model::{Config, Initial, ServiceName};
use sluice_core::pool::health::Health;
use sluice_core::pool::readiness::NotReady;
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::announce::{Ready, Report, Withheld};
use crate::daemon::Daemon;
use crate::daemon::due::{Retry, SyncFailure};
use crate::pool::backend_states::key;

/// Maximum wait until addresses are withdrawn. The kernel takes less than a millisecond, unless another program holds its lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two signs of life to the service manager during the wait of a stop.
const SIGN: Duration = Duration::from_secs(1);

/// Number of addresses that a line of the log has at most.
const LISTED: usize = 3;

impl<D: Dataplane> Daemon<D> {
    /// Orders the addresses that follow from the readiness of services.
    pub(crate) fn announce(&mut self) -> Option<oneshot::Receiver<Arc<Report>>> {
        let withheld = if self.left.is_some() { &Withheld::All } else { &self.withheld };
        let (services, board) = (&self.config.services, self.prober.board());
        let readiness = self.readiness.borrow();
        let ready = |name: &ServiceName| {
            let service = &services[name];
            let is_known = |backend| {
                let report = board.report(&key(name, backend));
                report.is_some_and(|report| report.health != Health::Unknown)
            };
            // A backend that serves until its first probe cannot make the service ready any more.
            let may_improve = service.health.as_ref().is_some_and(|check| check.initial == Initial::Down);
            let known = !may_improve || service.backends.iter().all(is_known);
            let [ready, apart_from_sync] =
                [readiness.of(name), readiness.apart_from_node(name)].map(|it| it == Some(Ok(())));
            Ready { ready, apart_from_sync, known }
        };
        let in_sync = !matches!(readiness.node, Some(NotReady::OutOfSync(_)));
        self.announcements.update(&self.config.announce, services, withheld, in_sync, ready)
    }

    /// Withdraws addresses, and waits until they are gone. Returns how many were there.
    async fn withdraw(&mut self, withheld: Withheld) -> usize {
        self.withheld = withheld;
        let order = self.announce();
        Self::withdrawn(order).await
    }

    /// Waits until an order is executed. Returns how many addresses it withdrew.
    async fn withdrawn(order: Option<oneshot::Receiver<Arc<Report>>>) -> usize {
        let Some(done) = order else { return 0 };
        match timeout(PATIENCE, done).await {
            Ok(report) => report.map_or(0, |report| report.withdrawn.len()),
            Err(_elapsed) => {
                warn!("addresses of services are not withdrawn after {} s", PATIENCE.as_secs());
                1
            }
        }
    }

    /// Withdraws the addresses that a new configuration takes away from ready services, before the kernel changes.
    pub(crate) async fn withdraw_before(&mut self, new: &Config) {
        let withheld = self.taken_away(new);
        if !withheld.is_empty() {
            self.withdraw(Withheld::Some(withheld)).await;
        }
    }

    /// After a reload, whether it succeeded or not: addresses follow from the services again.
    pub(crate) fn release_addresses(&mut self) {
        self.withheld = Withheld::None;
        self.publish_readiness();
        // The readiness may be as before.
        self.announce();
    }

    /// The addresses that no service of a new configuration is known to serve: all services that had the address before are
    /// gone from it, or not ready. A service that gets an address is judged after the change.
    fn taken_away(&self, new: &Config) -> BTreeSet<IpAddr> {
        let old = &self.config.services;
        let readiness = self.readiness.borrow();
        let mut taken: BTreeSet<IpAddr> = old.values().flat_map(|service| service.announced()).collect();
        for (name, service) in new.services.iter() {
            for address in service.announced() {
                let had = old.get(name).is_some_and(|before| before.announced().any(|it| it == address));
                if !had || readiness.of(name) == Some(Ok(())) {
                    taken.remove(&address);
                }
            }
        }
        taken
    }

    /// Withdraws all addresses, and waits as configured, so that routers stop sending packets before the rest of a stop. Hooks run
    /// meanwhile.
    pub(crate) async fn withdraw_for_stop(&mut self) {
        (self.withheld, self.is_stopping) = (Withheld::All, true);
        let order = self.publish_readiness();
        let withdrawn = Self::withdrawn(order).await;
        if withdrawn == 0 {
            return;
        }
        let wait = self.config.announce.withdraw_wait;
        info!("withdrew all addresses of services: waiting for {} ms", wait.as_millis());
        let end = Instant::now() + wait;
        while Instant::now() < end {
            self.follow_health_until(sleep(SIGN.min(end - Instant::now()))).await;
            self.feed_watchdog();
        }
    }

    /// Has addresses checked and repaired, after a change of interfaces or at a refresh.
    pub(crate) fn check_addresses(&mut self) {
        self.announcements.repeat();
    }

    /// Has addresses repaired after a failure. The next retry is later, unless the result of this one is known before.
    pub(crate) fn retry_addresses(&mut self) {
        if let Some(failure) = &mut self.announce_failure {
            failure.retry = failure.retry.next_if_due();
        }
        self.announcements.repeat();
    }

    /// Records the result of an order, and schedules a retry if a part of it failed.
    pub(crate) fn note_addresses(&mut self, report: Arc<Report>) {
        let interface = self.config.announce.interface.as_str();
        for (verb, addresses) in [("announced", &report.added), ("withdrew", &report.withdrawn)] {
            if !addresses.is_empty() {
                let text = format!("{verb} {} on {interface}", few(addresses));
                info!("{text}");
                self.events.add(EventKind::Announce, Severity::Info, text);
            }
        }
        let before = self.announce_failure.take();
        match report.error().map(str::to_owned) {
            Some(error) => {
                if before.as_ref().is_none_or(|before| before.error != error) {
                    error!("{error}");
                    self.events.add(EventKind::Announce, Severity::Error, error.clone());
                }
                let retry = before.map_or_else(Retry::first, |before| before.retry);
                self.announce_failure = Some(SyncFailure { error, differences: vec![], retry });
            }
            None if before.is_some() => {
                let text = "addresses of services are as they should be again";
                info!("{text}");
                self.events.add(EventKind::Announce, Severity::Info, text);
            }
            None => {}
        }
        self.announcements.report = report;
    }
}

/// Addresses on one line.
fn few(addresses: &[IpAddr]) -> String {
    let listed: Vec<_> = addresses.iter().take(LISTED).map(ToString::to_string).collect();
    match addresses.len().saturating_sub(LISTED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
