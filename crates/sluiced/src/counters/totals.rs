//! [`Totals`]: numbers of new connections, across deletions of the kernel's counters. The reconcile task and readers share them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_core::model::{Address, BackendName, DropReason, Listener, Ports, Protocol, ServiceName};
use sluice_core::render::connection_counts::ConnectionCounts;
use sluice_core::render::owner::Flow;

/// Totals by flow: a base (the counts of deleted elements) plus the counts of existing elements. A total
/// never decreases. Clones are the same totals.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counted: TotalsSnapshot,
    /// Number of begins and ends of changes of the table: odd during a change.
    epoch: u64,
}

/// A snapshot of totals.
#[derive(Clone, Debug, Default)]
pub struct TotalsSnapshot {
    base: Arc<ConnectionCounts>,
    live: Arc<ConnectionCounts>,
}

impl Totals {
    /// Updates from counters read from the kernel. A counter that is smaller than before was reset by another
    /// program, and counts on from the previous total.
    pub fn observe(&self, now: ConnectionCounts) {
        self.inner().counted.observe(now);
    }

    /// Updates from counters that were read while the table may have changed: they are used only if it has not changed since
    /// [`Totals::epoch`] returned `epoch`. Returns whether they were used.
    pub fn observe_at_epoch(&self, epoch: u64, now: ConnectionCounts) -> bool {
        let mut inner = self.inner();
        let is_current = inner.epoch == epoch;
        if is_current {
            inner.counted.observe(now);
        }
        is_current
    }

    /// The current epoch, for counters that are read from now on; `None` during a change of the table.
    pub fn epoch(&self) -> Option<u64> {
        Some(self.inner().epoch).filter(|epoch| epoch.is_multiple_of(2))
    }

    /// Begins a change of the table. [`Totals::end_change`] ends it.
    pub fn begin_change(&self) {
        self.inner().epoch += 1;
    }

    /// Ends a change, and adds the last counts of the deleted elements to the base.
    pub fn end_change(&self, deleted: ConnectionCounts) {
        let mut inner = self.inner();
        inner.epoch += 1;
        inner.counted.add_deleted(deleted);
    }

    /// Restores base and live count of each flow from an earlier daemon.
    pub(crate) fn restored(found: BTreeMap<Flow, (u64, u64)>) -> Self {
        let (mut base, mut live) = (ConnectionCounts::new(), ConnectionCounts::new());
        for (flow, (deleted, existing)) in found {
            base.extend((deleted > 0).then(|| (flow.clone(), deleted)));
            live.extend((existing > 0).then_some((flow, existing)));
        }
        let counted = TotalsSnapshot { base: Arc::new(base), live: Arc::new(live) };
        Totals(Arc::new(Mutex::new(Inner { counted, epoch: 0 })))
    }

    /// A snapshot of the current totals.
    pub fn counted(&self) -> TotalsSnapshot {
        self.inner().counted.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TotalsSnapshot {
    fn observe(&mut self, mut now: ConnectionCounts) {
        now.retain(|_, count| *count > 0);
        let before = std::mem::replace(&mut self.live, Arc::new(now));
        for (flow, before) in before.iter() {
            let after = self.live.get(flow).copied().unwrap_or_default();
            if *before > after {
                *Arc::make_mut(&mut self.base).entry(flow.clone()).or_default() += before - after;
            }
        }
    }

    fn add_deleted(&mut self, deleted: ConnectionCounts) {
        for (flow, count) in deleted.into_iter().filter(|(_, count)| *count > 0) {
            if self.live.contains_key(&flow) {
                let live = Arc::make_mut(&mut self.live).get_mut(&flow).expect("the key exists");
                *live = live.saturating_sub(count);
            }
            *Arc::make_mut(&mut self.base).entry(flow).or_default() += count;
        }
    }

    /// Base and live count of each flow, of some services or of all.
    pub(crate) fn parts(&self, services: Option<&BTreeSet<ServiceName>>) -> BTreeMap<&Flow, (u64, u64)> {
        let mut parts = BTreeMap::<_, (u64, u64)>::new();
        each(&self.base, services, |flow, count| parts.entry(flow).or_default().0 = count);
        each(&self.live, services, |flow, count| parts.entry(flow).or_default().1 = count);
        parts
    }

    /// The total of each flow.
    pub fn flows(&self) -> BTreeMap<&Flow, u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(self.live.iter()) {
            *sums.entry(flow).or_default() += count;
        }
        sums
    }

    /// New connections of each backend over all listeners of its service.
    pub fn by_backend(&self) -> BTreeMap<(&ServiceName, &BackendName), u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(self.live.iter()) {
            if let Some(backend) = &flow.backend {
                *sums.entry((&flow.service, backend)).or_default() += count;
            }
        }
        sums
    }

    /// Packets dropped by the guard of each service, over all its listeners.
    pub fn by_reason(&self) -> BTreeMap<(&ServiceName, DropReason), u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(self.live.iter()) {
            if let Some(reason) = flow.dropped {
                *sums.entry((&flow.service, reason)).or_default() += count;
            }
        }
        sums
    }
}

/// A lower bound of a service's listeners in their order.
const LEAST: Listener =
    Listener { address: Address::Any, ports: Ports { first: 0, last: 0 }, protocol: Protocol::Tcp };

/// The counts of some services, or of all.
fn each<'a>(
    tally: &'a ConnectionCounts,
    services: Option<&BTreeSet<ServiceName>>,
    mut take: impl FnMut(&'a Flow, u64),
) {
    let Some(services) = services else {
        return tally.iter().for_each(|(flow, count)| take(flow, *count));
    };
    for service in services {
        let from = Flow { service: service.clone(), listener: LEAST, backend: None, dropped: None };
        let of_it = tally.range(from..).take_while(|(flow, _)| flow.service == *service);
        of_it.for_each(|(flow, count)| take(flow, *count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(backend: &str) -> Flow {
        Flow {
            service: ServiceName::new("web").unwrap(),
            listener: Listener {
                address: Address::Exact("203.0.113.10".parse().unwrap()),
                ports: Ports::single(80),
                protocol: Protocol::Tcp,
            },
            backend: Some(BackendName::new(backend).unwrap()),
            dropped: None,
        }
    }

    fn tally(a: u64, b: u64) -> ConnectionCounts {
        [(flow("a"), a), (flow("b"), b)].into()
    }

    fn totals_of(totals: &Totals) -> [u64; 2] {
        let counted = totals.counted();
        let flows = counted.flows();
        ["a", "b"].map(|name| flows.get(&flow(name)).copied().unwrap_or_default())
    }

    #[test]
    fn totals_after_a_deletion_of_elements_are_exact() {
        let totals = Totals::default();
        totals.observe(tally(10, 5));
        // Until the commit the deleted element of `a` counted two more; the new one starts at 0.
        totals.end_change(tally(12, 0));
        totals.observe(tally(3, 6));
        assert_eq!(totals_of(&totals), [15, 6]);
        totals.observe(tally(4, 6));
        assert_eq!(totals_of(&totals), [16, 6]);
    }

    #[test]
    fn totals_after_a_deletion_of_one_element_of_a_flow_keep_the_others() {
        let totals = Totals::default();
        totals.observe(tally(10, 0));
        totals.end_change(tally(4, 0));
        totals.observe(tally(6, 0));
        assert_eq!(totals_of(&totals), [10, 0]);
    }

    #[test]
    fn totals_after_a_foreign_flush_of_the_table_do_not_decrease() {
        let totals = Totals::default();
        totals.observe(tally(10, 5));
        totals.observe(ConnectionCounts::new());
        assert_eq!(totals_of(&totals), [10, 5]);
        totals.observe(tally(1, 0));
        assert_eq!(totals_of(&totals), [11, 5]);
        assert_eq!(totals.counted().by_backend().values().copied().collect::<Vec<_>>(), [11, 5]);
    }

    #[test]
    fn counters_read_during_a_change_of_the_table_are_ignored() {
        let totals = Totals::default();
        let epoch = totals.epoch().unwrap();
        assert!(totals.observe_at_epoch(epoch, tally(10, 5)));
        totals.begin_change();
        assert_eq!(totals.epoch(), None);
        totals.end_change(tally(12, 0));
        // Read before the commit: they have the element of `a`, whose count is already in the base.
        assert!(!totals.observe_at_epoch(epoch, tally(11, 5)));
        assert_eq!(totals_of(&totals), [12, 5]);
        assert!(totals.observe_at_epoch(totals.epoch().unwrap(), tally(0, 6)));
        assert_eq!(totals_of(&totals), [12, 6]);
    }
}
