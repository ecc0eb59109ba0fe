//! New connections since counting began, although the kernel's counters come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_core::model::{Address, BackendName, Listener, Ports, Protocol, Reason, ServiceName};
use sluice_core::origin::Flow;
use sluice_core::tally::Tally;

/// Totals by flow: a base, what elements that are gone had counted, plus what live ones count. A total
/// never goes backwards. Clones are the same totals.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    counted: Counted,
    /// Beginnings and ends of changes of the table so far: it is odd while one is under way.
    turns: u64,
}

/// Totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    base: Arc<Tally>,
    live: Arc<Tally>,
}

impl Totals {
    /// Takes over the counts read from the kernel. What is less than before was reset by somebody
    /// else, and goes on from where it was.
    pub fn observe(&self, now: Tally) {
        self.books().counted.observe(now);
    }

    /// The same for counts that were read while we may have changed the table: they count only if we have not, `turn`
    /// being what [`Totals::turn`] said before. Returns whether they do.
    pub fn observe_in(&self, turn: u64, now: Tally) -> bool {
        let mut books = self.books();
        let still = books.turns == turn;
        if still {
            books.counted.observe(now);
        }
        still
    }

    /// What to name counts by that are read from now on; `None` while we change the table.
    pub fn turn(&self) -> Option<u64> {
        Some(self.books().turns).filter(|turns| turns.is_multiple_of(2))
    }

    /// We begin to change the table. [`Totals::keep`] ends it.
    pub fn begin(&self) {
        self.books().turns += 1;
    }

    /// Keeps the last counts of elements that we have deleted.
    pub fn keep(&self, gone: Tally) {
        let mut books = self.books();
        books.turns += 1;
        books.counted.keep(gone);
    }

    /// Goes on from base and live count of each flow, as an earlier daemon knew them.
    pub(crate) fn restored(found: BTreeMap<Flow, (u64, u64)>) -> Self {
        let (mut base, mut live) = (Tally::new(), Tally::new());
        for (flow, (gone, there)) in found {
            base.extend((gone > 0).then(|| (flow.clone(), gone)));
            live.extend((there > 0).then_some((flow, there)));
        }
        let counted = Counted { base: Arc::new(base), live: Arc::new(live) };
        Totals(Arc::new(Mutex::new(Books { counted, turns: 0 })))
    }

    /// As of now.
    pub fn counted(&self) -> Counted {
        self.books().counted.clone()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn observe(&mut self, mut now: Tally) {
        now.retain(|_, count| *count > 0);
        let before = std::mem::replace(&mut self.live, Arc::new(now));
        for (flow, was) in before.iter() {
            let is = self.live.get(flow).copied().unwrap_or_default();
            if *was > is {
                *Arc::make_mut(&mut self.base).entry(flow.clone()).or_default() += was - is;
            }
        }
    }

    fn keep(&mut self, gone: Tally) {
        for (flow, count) in gone.into_iter().filter(|(_, count)| *count > 0) {
            if self.live.contains_key(&flow) {
                let live = Arc::make_mut(&mut self.live).get_mut(&flow).expect("it was just there");
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

    /// What each flow has come to.
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

    /// What the guard of each service dropped, over all its listeners.
    pub fn by_reason(&self) -> BTreeMap<(&ServiceName, Reason), u64> {
        let mut sums = BTreeMap::new();
        for (flow, count) in self.base.iter().chain(self.live.iter()) {
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
        let counted = totals.counted();
        let flows = counted.flows();
        ["a", "b"].map(|name| flows.get(&flow(name)).copied().unwrap_or_default())
    }

    #[test]
    fn totals_when_we_delete_elements_lose_and_invent_nothing() {
        let totals = Totals::default();
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
        let totals = Totals::default();
        totals.observe(tally(10, 0));
        totals.keep(tally(4, 0));
        totals.observe(tally(6, 0));
        assert_eq!(totals_of(&totals), [10, 0]);
    }

    #[test]
    fn totals_when_somebody_flushes_the_table_do_not_go_backwards() {
        let totals = Totals::default();
        totals.observe(tally(10, 5));
        totals.observe(Tally::new());
        assert_eq!(totals_of(&totals), [10, 5]);
        totals.observe(tally(1, 0));
        assert_eq!(totals_of(&totals), [11, 5]);
        assert_eq!(totals.counted().by_backend().values().copied().collect::<Vec<_>>(), [11, 5]);
    }

    #[test]
    fn counts_that_were_read_while_we_changed_the_table_do_not_count() {
        let totals = Totals::default();
        let turn = totals.turn().unwrap();
        assert!(totals.observe_in(turn, tally(10, 5)));
        totals.begin();
        assert_eq!(totals.turn(), None);
        totals.keep(tally(12, 0));
        // Read before: the element of `a` is in them, and its count in the base already.
        assert!(!totals.observe_in(turn, tally(11, 5)));
        assert_eq!(totals_of(&totals), [12, 5]);
        assert!(totals.observe_in(totals.turn().unwrap(), tally(0, 6)));
        assert_eq!(totals_of(&totals), [12, 6]);
    }
}
