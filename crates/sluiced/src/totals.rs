//! New connections since counting began, although the kernel's counters come and go.

use std::collections::{BTreeMap, BTreeSet};

use sluice_core::model::{Address, BackendName, Listener, Ports, Protocol, Reason, ServiceName};
use sluice_core::origin::Flow;
use sluice_core::tally::Tally;

/// Totals by flow: a base, what elements that are gone had counted, plus what live ones count. A total
/// never goes backwards.
#[derive(Debug, Default)]
pub struct Totals {
    base: Tally,
    live: Tally,
}

impl Totals {
    /// Takes over the counts read from the kernel. What is less than before was reset by somebody
    /// else, and goes on from where it was.
    pub fn observe(&mut self, mut now: Tally) {
        now.retain(|_, count| *count > 0);
        for (flow, was) in std::mem::replace(&mut self.live, now) {
            let is = self.live.get(&flow).copied().unwrap_or_default();
            if was > is {
                *self.base.entry(flow).or_default() += was - is;
            }
        }
    }

    /// Keeps the last counts of elements that we have deleted.
    pub fn keep(&mut self, gone: Tally) {
        for (flow, count) in gone.into_iter().filter(|(_, count)| *count > 0) {
            if let Some(live) = self.live.get_mut(&flow) {
                *live = live.saturating_sub(count);
            }
            *self.base.entry(flow).or_default() += count;
        }
    }

    /// Goes on from base and live count of each flow, as an earlier daemon knew them.
    pub(crate) fn restored(found: BTreeMap<Flow, (u64, u64)>) -> Self {
        let mut totals = Totals::default();
        for (flow, (base, live)) in found {
            totals.base.extend((base > 0).then(|| (flow.clone(), base)));
            totals.live.extend((live > 0).then_some((flow, live)));
        }
        totals
    }

    /// Base and live count of each flow, of some services or of all.
    pub(crate) fn parts(&self, services: Option<&BTreeSet<ServiceName>>) -> BTreeMap<&Flow, (u64, u64)> {
        let mut parts = BTreeMap::<_, (u64, u64)>::new();
        each(&self.base, services, |flow, count| parts.entry(flow).or_default().0 = count);
        each(&self.live, services, |flow, count| parts.entry(flow).or_default().1 = count);
        parts
    }

    /// New connections of one flow.
    pub fn of(&self, flow: &Flow) -> u64 {
        [&self.base, &self.live].iter().filter_map(|tally| tally.get(flow)).sum()
    }

    /// New connections of each backend over all listeners of its service.
    pub fn by_backend(&self) -> BTreeMap<(&ServiceName, &BackendName), u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(&self.live) {
            if let Some(backend) = &flow.backend {
                *sums.entry((&flow.service, backend)).or_default() += count;
            }
        }
        sums
    }

    /// What the guard of each service dropped, over all its listeners.
    pub fn by_reason(&self) -> BTreeMap<(&ServiceName, Reason), u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(&self.live) {
            if let Some(reason) = flow.dropped {
                *sums.entry((&flow.service, reason)).or_default() += count;
            }
        }
        sums
    }
}

/// No listener of a service comes before it.
const LEAST: Listener =
    Listener { address: Address::Any, ports: Ports { first: 0, last: 0 }, protocol: Protocol::Tcp };

/// Hands over the counts of some services, or of all.
fn each<'a>(tally: &'a Tally, services: Option<&BTreeSet<ServiceName>>, mut take: impl FnMut(&'a Flow, u64)) {
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

    fn tally(a: u64, b: u64) -> Tally {
        [(flow("a"), a), (flow("b"), b)].into()
    }

    fn totals_of(totals: &Totals) -> [u64; 2] {
        [totals.of(&flow("a")), totals.of(&flow("b"))]
    }

    #[test]
    fn totals_when_we_delete_elements_lose_and_invent_nothing() {
        let mut totals = Totals::default();
        totals.observe(tally(10, 5));
        // Until the commit the dying element of `a` counted two more; the new one starts at 0.
        totals.keep(tally(12, 0));
        totals.observe(tally(3, 6));
        assert_eq!(totals_of(&totals), [15, 6]);
        totals.observe(tally(4, 6));
        assert_eq!(totals_of(&totals), [16, 6]);
    }

    #[test]
    fn totals_when_one_of_several_elements_of_a_flow_goes_keep_the_others() {
        let mut totals = Totals::default();
        totals.observe(tally(10, 0));
        totals.keep(tally(4, 0));
        totals.observe(tally(6, 0));
        assert_eq!(totals_of(&totals), [10, 0]);
    }

    #[test]
    fn totals_when_somebody_flushes_the_table_do_not_go_backwards() {
        let mut totals = Totals::default();
        totals.observe(tally(10, 5));
        totals.observe(Tally::new());
        assert_eq!(totals_of(&totals), [10, 5]);
        totals.observe(tally(1, 0));
        assert_eq!(totals_of(&totals), [11, 5]);
        assert_eq!(totals.by_backend().values().copied().collect::<Vec<_>>(), [11, 5]);
    }
}
