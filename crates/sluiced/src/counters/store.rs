//! Saves totals of new connections for the next daemon.
//!
//! Elements in the kernel count new connections and outlive a daemon that crashes; only the daemon has the counts of deleted
//! elements. Both are saved, flow by flow, when elements with counters are deleted and before totals are shown, so that after a
//! kill no total is smaller than one that was shown. A change of some services appends a few lines
//! to the file; the last line of a flow is valid. The file is rewritten, without outdated lines, at the start, at the stop,
//! after a foreign change, at a refresh, when it has grown, and before totals are shown. If there are so many totals that
//! writing takes long, the latter is done less often.
//!
//! [`Bases`] collects what must be saved, and a thread ([`Book`]) writes the then current totals. Only readers of totals wait
//! for the disk, and only for a moment.

use std::collections::BTreeSet;
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

/// Number of bytes that may be appended before the file is rewritten, unless the file is larger.
const GROWTH: u64 = 1 << 20;

/// Writing before totals are shown takes at most this fraction (1 / N) of the time.
const REST: u32 = 20;

/// Minimum wait after a failure before one change encodes all totals again.
const RETRY: Duration = Duration::from_secs(1);

/// How long readers of totals wait until they are saved.
const PATIENCE: Duration = Duration::from_millis(500);

/// Orders saves of totals. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Bases {
    due: Arc<Mutex<Due>>,
    wake: mpsc::UnboundedSender<()>,
}

/// The waiting orders.
#[derive(Debug, Default)]
struct Due {
    /// Whether there are any.
    any: bool,
    /// Services whose totals changed.
    services: BTreeSet<ServiceName>,
    /// Whether all totals must be written.
    all: bool,
    /// Readers that wait.
    waiting: Vec<oneshot::Sender<()>>,
}

/// Writes `totals.jsonl` in the state directory.
#[derive(Debug)]
pub(crate) struct Book {
    due: Arc<Mutex<Due>>,
    totals: Totals,
    files: Files,
    /// Size in bytes after the last rewrite; `None`: it must be rewritten before an append.
    whole: Option<u64>,
    appended: u64,
    /// The earliest time of a write for readers only, or of an append after a failure.
    rested: Instant,
    complained: bool,
}

impl Bases {
    /// Reads the totals of these services that an earlier daemon saved. State must never prevent a start: invalid content
    /// is logged and ignored. `wake` wakes the thread of the book when a write is due.
    pub(crate) fn open(
        files: Files,
        services: &Services,
        wake: mpsc::UnboundedSender<()>,
    ) -> (Self, Book, Totals) {
        let text = files.read(FILE).map_err(|error| error.to_string());
        let found = text.and_then(|text| text.map_or_else(|| Ok(Default::default()), |text| read(&text)));
        let (mut found, ignored) = found.unwrap_or_else(|error| {
            warn!("ignored {}: {error}", files.path(FILE).display());
            Default::default()
        });
        if ignored > 0 {
            warn!("ignored {ignored} lines of {}", files.path(FILE).display());
        }
        // Otherwise totals of removed services would stay for ever.
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

    /// Orders a save of the totals of some services, or of all.
    pub(crate) fn save(&self, services: Option<&BTreeSet<ServiceName>>) {
        self.order(|due| match services {
            Some(services) => due.services.extend(services.iter().cloned()),
            None => due.all = true,
        });
    }

    /// Waits until the current totals are saved, before they are shown; returns at once if they were saved a
    /// short time ago, and gives up if it takes too long.
    pub(crate) async fn saved(&self) {
        let (done, saved) = oneshot::channel();
        self.order(|due| due.waiting.push(done));
        let _ = timeout(PATIENCE, saved).await;
    }

    /// Waits until all orders are written.
    pub(crate) async fn written(&self) {
        let (done, written) = oneshot::channel();
        self.order(|due| due.waiting.push(done));
        let _ = written.await;
    }

    fn order(&self, order: impl FnOnce(&mut Due)) {
        let mut due = locked(&self.due);
        order(&mut due);
        // A thread that is awake checks again before it sleeps.
        if !std::mem::replace(&mut due.any, true) {
            let _ = self.wake.send(());
        }
    }
}

impl Book {
    /// Whether a write is due.
    pub(crate) fn is_due(&self) -> bool {
        locked(&self.due).any
    }

    /// Executes the write that is due. A failure is logged.
    pub(crate) fn write_due(&mut self) {
        let Due { any, services, all, waiting } = std::mem::take(&mut *locked(&self.due));
        match () {
            () if !any => {}
            () if all => self.rewrite(),
            () if !services.is_empty() => self.write(&services),
            () => {}
        }
        // On a full disk not every reader may encode all totals in vain, and many flows must not keep the disk busy.
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
                // The file may have been deleted.
                if self.append(lines(&self.totals, Some(services))).is_err() {
                    self.rewrite();
                }
            }
            _ => self.rewrite(),
        }
    }

    /// Replaces the file atomically.
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

    /// Appends lines. Not synced, because the file must survive a crash of the daemon, not of the machine.
    fn append(&mut self, lines: Vec<u8>) -> Result<(), FileError> {
        // Never created here, because it would have no head.
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
    use sluice_core::render::owner::Flow;
    use sluice_core::render::tally::Tally;

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
