//! New connections from one daemon to the next.
//!
//! Elements count what is new in the kernel, and outlive a daemon that crashes; what elements had counted that are gone
//! only the daemon knows. Both are saved, flow by flow, when elements go that count, and before totals are shown: so a daemon
//! that is killed leaves no total that is smaller than anybody has seen. A change of some services takes a few lines
//! at the end of a file: the last line of a flow counts. The file is written anew, without the others, at the start, at the stop,
//! when somebody else changed the table, at a refresh, when it has grown, and before totals are shown. Where they are so many that
//! writing takes long, the last is done now and then.
//!
//! [`Bases`] says what is to be saved, and a thread writes it ([`Book`]), as it is then: nobody else waits for the disk, but who
//! shows totals, and for a moment only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_core::model::{BackendName, ServiceName, Services};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::counters::lines::{lines, read, whole};
use crate::counters::totals::Totals;
use crate::fatal::chain;
use crate::state::{Durable, FileError, Files};

const FILE: &str = "totals.jsonl";

/// Bytes that may be appended before the file is written anew, unless that is larger.
const GROWTH: u64 = 1 << 20;

/// Writing before totals are shown takes at most one part in so many of the time.
const REST: u32 = 20;

/// Wait after a failure before all totals are put together again for one change.
const RETRY: Duration = Duration::from_secs(1);

/// How long totals that are to be shown wait until they are saved.
const PATIENCE: Duration = Duration::from_millis(500);

/// Has totals saved. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Bases {
    due: Arc<Mutex<Due>>,
    wake: mpsc::UnboundedSender<()>,
}

/// What is to be saved.
#[derive(Debug, Default)]
struct Due {
    /// Whether there is anything.
    any: bool,
    /// Services whose totals changed.
    services: BTreeSet<ServiceName>,
    /// Whether it is all of them, whatever changed.
    all: bool,
    /// Who waits.
    waiting: Vec<oneshot::Sender<()>>,
}

/// Writes `totals.jsonl` in the state directory.
#[derive(Debug)]
pub(crate) struct Book {
    due: Arc<Mutex<Due>>,
    totals: Totals,
    files: Files,
    /// Bytes when it was last written anew; `None`: it has to be before anything is appended.
    whole: Option<u64>,
    appended: u64,
    /// When it may be written only to show totals, or for a change of some after a failure.
    rested: Instant,
    complained: bool,
}

impl Bases {
    /// Reads what an earlier daemon left of these services. That must never prevent a start: what cannot be understood
    /// is logged and counts as nothing. `wake` wakes whoever has the book when something is due.
    pub(crate) fn open(
        files: Files,
        services: &Services,
        wake: mpsc::UnboundedSender<()>,
    ) -> (Self, Book, Totals) {
        let ignored = |why: &str| warn!("ignored {why} of {}", files.path(FILE).display());
        let mut found = match files.read(FILE) {
            Ok(None) => BTreeMap::new(),
            Ok(Some(text)) => match read(&text) {
                Ok((found, lines)) => {
                    if lines > 0 {
                        ignored(&format!("{lines} lines"));
                    }
                    found
                }
                Err(error) => {
                    warn!("ignored {}: {error}", files.path(FILE).display());
                    BTreeMap::new()
                }
            },
            Err(error) => {
                warn!("ignored {}: {error}", files.path(FILE).display());
                BTreeMap::new()
            }
        };
        // Or those of yesterday would be carried along for ever.
        found.retain(|flow, _| {
            services.get(&flow.service).is_some_and(|service| {
                let has = |name: &BackendName| service.backends.iter().any(|known| known.name == *name);
                flow.backend.as_ref().is_none_or(has)
            })
        });
        let (totals, due) = (Totals::restored(found), Arc::<Mutex<Due>>::default());
        let book = Book {
            due: due.clone(),
            totals: totals.clone(),
            files,
            whole: None,
            appended: 0,
            rested: Instant::now(),
            complained: false,
        };
        (Bases { due, wake }, book, totals)
    }

    /// Has the totals of some services saved, or of all.
    pub(crate) fn save(&self, services: Option<&BTreeSet<ServiceName>>) {
        self.order(|due| match services {
            Some(services) => due.services.extend(services.iter().cloned()),
            None => due.all = true,
        });
    }

    /// Waits until the totals of this moment are saved, because they are about to be shown; unless that was done a
    /// short time ago, or takes too long.
    pub(crate) async fn saved(&self) {
        let (done, saved) = oneshot::channel();
        self.order(|due| due.waiting.push(done));
        let _ = timeout(PATIENCE, saved).await;
    }

    /// Waits until all that was ordered is written.
    pub(crate) async fn written(&self) {
        let (done, written) = oneshot::channel();
        self.order(|due| due.waiting.push(done));
        let _ = written.await;
    }

    fn order(&self, order: impl FnOnce(&mut Due)) {
        let mut due = locked(&self.due);
        order(&mut due);
        // One that is awake already looks again before it sleeps.
        if !std::mem::replace(&mut due.any, true) {
            let _ = self.wake.send(());
        }
    }
}

impl Book {
    /// Whether there is something to write.
    pub(crate) fn is_due(&self) -> bool {
        locked(&self.due).any
    }

    /// Writes what is due. A failure is logged: what is in force matters more.
    pub(crate) fn write_due(&mut self) {
        let Due { any, services, all, waiting } = std::mem::take(&mut *locked(&self.due));
        match () {
            () if !any => {}
            () if all => self.rewrite(),
            () if !services.is_empty() => self.write(&services),
            () => {}
        }
        // A full disk must not have each look put all totals together in vain, nor many flows keep it busy.
        if !waiting.is_empty() && !all && Instant::now() >= self.rested {
            let began = Instant::now();
            self.rewrite();
            self.rested = self.rested.max(Instant::now() + REST * began.elapsed());
        }
        for done in waiting {
            let _ = done.send(());
        }
    }

    fn write(&mut self, services: &BTreeSet<ServiceName>) {
        match self.whole {
            // As above.
            _ if self.complained && Instant::now() < self.rested => {}
            Some(size) if self.appended <= size.max(GROWTH) => {
                // It may have been deleted.
                if self.append(lines(&self.totals, Some(services))).is_err() {
                    self.rewrite();
                }
            }
            _ => self.rewrite(),
        }
    }

    /// Replaces it in one step.
    fn rewrite(&mut self) {
        let text = whole(&self.totals);
        match self.files.replace(FILE, &text, Durable::No) {
            Ok(()) => (self.whole, self.appended, self.complained) = (Some(text.len() as u64), 0, false),
            Err(error) => {
                (self.whole, self.rested) = (None, Instant::now() + RETRY);
                if !std::mem::replace(&mut self.complained, true) {
                    warn!("{} (after a restart totals of connections may be smaller)", chain(&error));
                }
            }
        }
    }

    /// Not synced: it is the daemon that may end at any time, not the machine.
    fn append(&mut self, lines: Vec<u8>) -> Result<(), FileError> {
        // Not created: without a head it would be none.
        self.files.append(FILE, &lines)?;
        self.appended += lines.len() as u64;
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::net::IpAddr;

    use sluice_core::model::{Address, Backend, BackendPort, Listener, Ports, Protocol, Reason, Service};
    use sluice_core::origin::Flow;
    use sluice_core::tally::Tally;

    use super::*;
    use crate::state::tests::Scratch;

    fn open(state: &Scratch, services: &Services) -> (Bases, Book, Totals) {
        Bases::open(state.files(), services, mpsc::unbounded_channel().0)
    }

    fn flow(service: &str, listen: Option<IpAddr>, backend: Option<&str>, dropped: Option<Reason>) -> Flow {
        let address = listen.map_or(Address::Any, Address::Exact);
        let listener = Listener { address, ports: Ports { first: 80, last: 89 }, protocol: Protocol::Udp };
        let backend = backend.map(|name| BackendName::new(name).unwrap());
        Flow { service: ServiceName::new(service).unwrap(), listener, backend, dropped }
    }

    fn flows() -> [Flow; 3] {
        [
            flow("dns", None, Some("d1"), None),
            flow("web", Some("2001:db8::10".parse().unwrap()), None, Some(Reason::Denied)),
            flow("web", Some("203.0.113.10".parse().unwrap()), Some("[fd00::1]:80"), None),
        ]
    }

    fn services() -> Services {
        let backend = |name| Backend {
            name: BackendName::new(name).unwrap(),
            address: IpAddr::from([10, 0, 2, 11]),
            port: BackendPort::Keep,
            weight: 1,
            backup: false,
            max_connections: None,
        };
        let service = |name| Service { backends: vec![backend(name)], ..Service::default() };
        [("dns", service("d1")), ("web", service("[fd00::1]:80"))]
            .map(|(name, service)| (ServiceName::new(name).unwrap(), service))
            .into()
    }

    fn counted(counts: [u64; 3]) -> Tally {
        flows().into_iter().zip(counts).collect()
    }

    fn shown(totals: &Totals) -> [u64; 3] {
        let counted = totals.counted();
        flows().map(|flow| counted.flows().get(&flow).copied().unwrap_or_default())
    }

    #[test]
    fn totals_written_down_go_on_whether_the_elements_are_still_there_or_not() {
        let state = Scratch::default();
        let (bases, mut book, totals) = open(&state, &services());
        assert_eq!(shown(&totals), [0, 0, 0]);
        totals.observe(counted([10, 5, 7]));
        totals.keep(counted([4, 0, 0]));
        bases.save(None);
        book.write_due();
        let (.., adopted) = open(&state, &services());
        adopted.observe(counted([8, 5, 9]));
        assert_eq!(shown(&adopted), [12, 5, 9]);
        let (.., anew) = open(&state, &services());
        assert_eq!(shown(&anew), [10, 5, 7]);
        anew.observe(Tally::new());
        assert_eq!(shown(&anew), [10, 5, 7]);
        anew.observe(counted([0, 0, 1]));
        assert_eq!(shown(&anew), [10, 5, 8]);
    }

    #[test]
    fn last_line_of_a_flow_counts_and_a_torn_one_does_not() {
        let state = Scratch::default();
        let file = state.path().join("totals.jsonl");
        let (bases, mut book, totals) = open(&state, &services());
        bases.save(None);
        book.write_due();
        totals.observe(counted([10, 5, 7]));
        let dns = BTreeSet::from([ServiceName::new("dns").unwrap()]);
        bases.save(Some(&dns));
        book.write_due();
        totals.observe(counted([11, 6, 8]));
        bases.save(Some(&dns));
        book.write_due();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(shown(&open(&state, &services()).2), [11, 0, 0]);
        fs::write(&file, &text[..text.len() - 1]).unwrap();
        assert_eq!(shown(&open(&state, &services()).2), [10, 0, 0]);
    }

    #[tokio::test]
    async fn totals_that_are_shown_are_written_but_not_all_the_time() {
        let state = Scratch::default();
        let (bases, mut book, totals) = open(&state, &services());
        for (rested, count, expected) in
            [(Duration::ZERO, 10, 10), (Duration::from_secs(3600), 11, 10), (Duration::ZERO, 12, 12)]
        {
            totals.observe(counted([count, 5, 7]));
            book.rested = Instant::now() + rested;
            let written = async {
                tokio::task::yield_now().await;
                book.write_due();
            };
            tokio::join!(bases.saved(), written);
            assert_eq!(shown(&open(&state, &services()).2), [expected, 5, 7]);
        }
    }

    #[test]
    fn file_that_has_grown_is_written_anew() {
        let state = Scratch::default();
        let (bases, mut book, totals) = open(&state, &services());
        totals.observe(counted([10, 5, 7]));
        bases.save(None);
        book.write_due();
        let size = || fs::metadata(state.path().join("totals.jsonl")).unwrap().len();
        let (whole, dns) = (size(), BTreeSet::from([ServiceName::new("dns").unwrap()]));
        let mut largest = whole;
        for _ in 0..20_000 {
            bases.save(Some(&dns));
            book.write_due();
            largest = largest.max(size());
        }
        assert!((GROWTH..GROWTH + 4096).contains(&largest), "{largest}");
        bases.save(None);
        book.write_due();
        assert_eq!(size(), whole);
        fs::remove_file(state.path().join("totals.jsonl")).unwrap();
        bases.save(Some(&dns));
        book.write_due();
        bases.save(Some(&dns));
        book.write_due();
        assert_eq!(shown(&open(&state, &services()).2), [10, 5, 7], "somebody deleted it");
    }

    #[test]
    fn totals_of_services_and_backends_that_left_the_file_are_forgotten_at_a_start() {
        let state = Scratch::default();
        let (bases, mut book, totals) = open(&state, &services());
        totals.observe(counted([10, 5, 7]));
        bases.save(None);
        book.write_due();
        let mut fewer = services();
        fewer.remove(&ServiceName::new("dns").unwrap());
        fewer.values_mut().for_each(|service| service.backends.clear());
        assert_eq!(shown(&open(&state, &fewer).2), [0, 5, 0]);
    }

    #[test]
    fn byte_that_is_no_utf_8_costs_its_line_and_no_other() {
        let state = Scratch::default();
        let (bases, mut book, totals) = open(&state, &services());
        totals.observe(counted([10, 5, 7]));
        bases.save(None);
        book.write_due();
        let file = state.path().join("totals.jsonl");
        let whole = fs::read(&file).unwrap();
        for (at, left) in
            [("\"version", [10, 5, 7]), ("d1", [0, 5, 7]), ("fd00", [10, 5, 0]), ("7}", [10, 5, 0])]
        {
            let place = whole.windows(at.len()).rposition(|bytes| bytes == at.as_bytes()).unwrap();
            let mut damaged = whole.clone();
            damaged[place] = 0xff;
            fs::write(&file, damaged).unwrap();
            assert_eq!(shown(&open(&state, &services()).2), left, "{at}");
        }
    }

    #[test]
    fn damaged_file_counts_as_none_and_is_written_anew() {
        let state = Scratch::default();
        let file = state.path().join("totals.jsonl");
        for text in ["", "{", "\0\0", "[1]\n", "{\"version\":2}\n", "{\"version\":1}\n{\"service\":7}\nx\n"] {
            fs::write(&file, text).unwrap();
            let (bases, mut book, totals) = open(&state, &services());
            assert_eq!(shown(&totals), [0, 0, 0], "{text:?}");
            totals.observe(counted([1, 2, 3]));
            bases.save(Some(&BTreeSet::from([ServiceName::new("dns").unwrap()])));
            book.write_due();
            assert_eq!(shown(&open(&state, &services()).2), [1, 2, 3], "{text:?}");
        }
    }
}
