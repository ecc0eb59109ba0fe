//! [`Announcements`]: what the reconcile task knows and wants of announced addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::model::{Announce, ServiceName, Services};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::changes::Order;
use super::claims::{Claim, Claims, Standing, claims};
use super::queue::{AnnounceQueue, Report};
use super::view::AnnounceView;

/// Time after a start in which the addresses of a service stay although it is not ready, if nothing is known about its backends:
/// an earlier daemon may have announced them, and no probe has a result.
const UNDECIDED: Duration = Duration::from_secs(30);

/// Time in which addresses stay although the kernel differs from the configuration: long enough for two retries. A commit that
/// the kernel refuses once, for want of memory for example, leaves services as they were, and all nodes may meet it at a time.
const OUT_OF_SYNC: Duration = Duration::from_secs(1);

/// Time after which the services that are undecided are looked at again.
const PAUSE: Duration = Duration::from_millis(500);

/// Addresses that are not announced, whatever the services are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Withheld {
    #[default]
    None,
    /// A reload is about to take them away from services.
    Some(BTreeSet<IpAddr>),
    /// The daemon stops, or the node has left.
    All,
}

/// The readiness of an announced service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
    /// Whether it would be ready if the kernel equalled the configuration.
    pub(crate) apart_from_sync: bool,
    /// Whether the health of all its backends is known.
    pub(crate) known: bool,
}

/// Announced addresses, for the reconcile task.
#[derive(Debug)]
pub(crate) struct Announcements {
    queue: AnnounceQueue,
    /// Since when services have been ready without interruption.
    ready_since: BTreeMap<ServiceName, Instant>,
    /// Services that may be announced by an earlier daemon, until their readiness is known, and the end of that.
    undecided: (BTreeSet<ServiceName>, Instant),
    /// Since when the kernel has differed from the configuration.
    out_of_sync: Option<Instant>,
    ordered: Option<Arc<Order>>,
    /// When claims change by themselves.
    pub(crate) next: Option<Instant>,
    /// The result of the last order.
    pub(crate) report: Arc<Report>,
}

impl Announcements {
    /// Nothing is ordered yet. Services of this file may be announced already.
    pub(crate) fn new(queue: AnnounceQueue, services: &Services) -> Self {
        let undecided = services.iter().filter(|(_, service)| service.announce).map(|(name, _)| name.clone());
        Announcements {
            queue,
            ready_since: BTreeMap::new(),
            undecided: (undecided.collect(), Instant::now() + UNDECIDED),
            out_of_sync: None,
            ordered: None,
            next: None,
            report: Arc::default(),
        }
    }

    /// Orders what follows from the readiness of services, if it differs from the last order. The receiver gets the report
    /// of a new order.
    pub(crate) fn update(
        &mut self,
        announce: &Announce,
        services: &Services,
        withheld: &Withheld,
        in_sync: bool,
        ready: impl Fn(&ServiceName) -> Ready,
    ) -> Option<oneshot::Receiver<Arc<Report>>> {
        let now = Instant::now();
        self.out_of_sync = (!in_sync).then(|| self.out_of_sync.unwrap_or(now));
        let is_excused = self.out_of_sync.is_some_and(|since| now < since + OUT_OF_SYNC);
        let announced: Vec<_> =
            services.iter().filter(|(_, service)| service.announced().next().is_some()).collect();
        let mut ready_since = BTreeMap::new();
        let standings = announced.into_iter().map(|(name, service)| {
            let Ready { ready, apart_from_sync, known } = ready(name);
            if ready {
                let since = self.ready_since.get(name).copied().unwrap_or(now);
                ready_since.insert(name.clone(), since);
            }
            if ready || known || self.undecided.1 <= now {
                self.undecided.0.remove(name);
            }
            let standing = match ready_since.get(name) {
                Some(since) => Standing::ReadySince(*since),
                None if is_excused && apart_from_sync => Standing::Undecided,
                None if self.undecided.0.contains(name) => Standing::Undecided,
                None => Standing::NotReady,
            };
            (standing, service.announced())
        });
        let standings: Vec<_> = standings.collect();
        let looks_again = standings.iter().any(|(standing, _)| *standing == Standing::Undecided);
        self.ready_since = ready_since;
        let Claims { mut addresses, next } = claims(standings, announce.hold, now);
        match withheld {
            Withheld::None => {}
            Withheld::Some(withheld) => {
                let of = addresses.iter_mut().filter(|(address, _)| withheld.contains(address));
                of.for_each(|(_, claim)| *claim = Claim::Withdraw);
            }
            Withheld::All => addresses.values_mut().for_each(|claim| *claim = Claim::Withdraw),
        }
        self.next = next.into_iter().chain(looks_again.then_some(now + PAUSE)).min();
        let order = Order { interface: announce.interface.clone(), claims: addresses };
        if self.ordered.as_deref() == Some(&order) {
            return None;
        }
        let order = Arc::new(order);
        self.ordered = Some(order.clone());
        Some(self.queue.order(order))
    }

    /// Has the last order executed again, because interfaces or addresses may have changed.
    pub(crate) fn repeat(&self) {
        if let Some(order) = &self.ordered
            && (!order.claims.is_empty() || self.report.error().is_some())
        {
            drop(self.queue.order(order.clone()));
        }
    }

    /// The state for readers, with the error of the last order.
    pub(crate) fn view(&self, announce: &Announce, error: Option<String>) -> AnnounceView {
        let (interface, ordered) = (announce.interface.clone(), self.ordered.clone());
        AnnounceView { interface, ordered, report: self.report.clone(), error }
    }
}
