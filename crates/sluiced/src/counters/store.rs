//! New connections from one daemon to the next.
//!
//! Elements count what is new in the kernel, and outlive a daemon that crashes; what elements had counted that are gone
//! only the daemon knows. Both are written down, flow by flow, before elements go that count and after, so that a crash
//! in between does not make a total smaller than anybody has seen. That takes a few lines at the end of a file: the last
//! line of a flow counts. The file is written anew, without the others, at the start, at the stop, when somebody else
//! changed the table, at a refresh, when it has grown, and before totals are shown: then not even a daemon that finds
//! another file or no table goes back behind them. Where they are so many that writing takes long, it is done now and
//! then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_core::model::{Address, BackendName, Listener, Ports, Protocol, Reason, ServiceName, Services};
use sluice_core::origin::Flow;
use tokio::time::Instant;
use tracing::warn;

use crate::counters::totals::Totals;
use crate::fatal::chain;
use crate::state::{Durable, FileError, Files};

const FILE: &str = "totals.jsonl";

const VERSION: u32 = 2;

/// Bytes that may be appended before the file is written anew, unless that is larger.
const GROWTH: u64 = 1 << 20;

/// Writing before totals are shown takes at most one part in so many of the time.
const REST: u32 = 20;

/// Wait after a failure before all totals are put together again for one change.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is tried because something changed meanwhile.
const ATTEMPTS: u32 = 3;

/// `totals.jsonl` in the state directory. Clones are the same file.
#[derive(Clone, Debug)]
pub(crate) struct Bases(Arc<Mutex<Place>>);

#[derive(Debug)]
struct Place {
    files: Files,
    /// Bytes when it was last written anew; `None`: it has to be before anything is appended.
    whole: Option<u64>,
    appended: u64,
    /// How often somebody wrote what changed, and not only to show it.
    writes: u64,
    /// When it may be written only to show totals, or for a change of some after a failure.
    due: Instant,
    complained: bool,
}

/// First line.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Line {
    service: String,
    /// `null`: any.
    address: Option<IpAddr>,
    ports: (u16, u16),
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dropped: Option<String>,
    /// What elements had counted that are gone.
    base: u64,
    /// What those counted that were there.
    live: u64,
}

impl Bases {
    /// Reads what an earlier daemon left of these services. That must never prevent a start: what cannot be understood
    /// is logged and counts as nothing.
    pub(crate) fn open(files: Files, services: &Services) -> (Self, Totals) {
        let mut found = read(&files).unwrap_or_else(|error| {
            warn!("ignored {}: {error}", files.path(FILE).display());
            BTreeMap::new()
        });
        // Or those of yesterday would be carried along for ever.
        found.retain(|flow, _| {
            services.get(&flow.service).is_some_and(|service| {
                let has = |name: &BackendName| service.backends.iter().any(|known| known.name == *name);
                flow.backend.as_ref().is_none_or(has)
            })
        });
        let place =
            Place { files, whole: None, appended: 0, writes: 0, due: Instant::now(), complained: false };
        (Bases(Arc::new(Mutex::new(place))), Totals::restored(found))
    }

    /// Writes down the totals of some services, or of all. A failure is logged: what is in force matters more.
    pub(crate) fn write(&self, totals: &Totals, services: Option<&BTreeSet<ServiceName>>) {
        self.place().write(totals, services);
    }

    /// Writes down the totals that are about to be shown, unless it is too early for that.
    pub(crate) fn show(&self, totals: &Totals) {
        let began = Instant::now();
        for _ in 0..ATTEMPTS {
            let writes = {
                let place = self.place();
                if began < place.due {
                    return;
                }
                place.writes
            };
            // The reconcile task must not wait for this.
            let text = whole(totals);
            let mut place = self.place();
            if place.writes == writes {
                let replaced = place.put(&text);
                place.note(replaced);
                place.due = place.due.max(Instant::now() + REST * began.elapsed());
                return;
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn write(&mut self, totals: &Totals, services: Option<&BTreeSet<ServiceName>>) {
        // A full disk must not have each change put all totals together in vain.
        if self.complained && services.is_some() && Instant::now() < self.due {
            return;
        }
        self.writes += 1;
        let written = match (services, self.whole) {
            (Some(services), Some(size)) if self.appended <= size.max(GROWTH) => {
                // It may have been deleted.
                self.append(lines(totals, Some(services))).or_else(|_| self.put(&whole(totals)))
            }
            _ => self.put(&whole(totals)),
        };
        self.note(written);
    }

    fn note(&mut self, written: Result<(), FileError>) {
        match written {
            Ok(()) => self.complained = false,
            Err(error) => {
                (self.whole, self.due) = (None, Instant::now() + RETRY);
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

    /// Replaces it in one step.
    fn put(&mut self, text: &[u8]) -> Result<(), FileError> {
        self.files.replace(FILE, text, Durable::No)?;
        (self.whole, self.appended) = (Some(text.len() as u64), 0);
        Ok(())
    }
}

/// The file as it is without lines that others have outdated.
fn whole(totals: &Totals) -> Vec<u8> {
    let mut text = serde_json::to_vec(&Head { version: VERSION }).expect("a vector takes all");
    text.push(b'\n');
    text.extend(lines(totals, None));
    text
}

fn lines(totals: &Totals, services: Option<&BTreeSet<ServiceName>>) -> Vec<u8> {
    let mut text = vec![];
    for (flow, (base, live)) in totals.counted().parts(services) {
        serde_json::to_writer(&mut text, &Line::of(flow, base, live)).expect("a vector takes all");
        text.push(b'\n');
    }
    text
}

/// Base and live count of each flow.
fn read(files: &Files) -> Result<BTreeMap<Flow, (u64, u64)>, String> {
    let text = match files.read(FILE) {
        Ok(None) => return Ok(BTreeMap::new()),
        Ok(Some(text)) => text,
        Err(error) => return Err(error.to_string()),
    };
    let mut lines = text.split_inclusive('\n');
    let (mut found, mut ignored) = (BTreeMap::new(), 0);
    match serde_json::from_str::<Head>(lines.next().unwrap_or_default()) {
        Ok(Head { version: VERSION }) => {}
        Ok(Head { version }) => return Err(format!("version {version} of its format is not known")),
        // A damaged line like any other: the rest is understood without it, or not.
        Err(_) => ignored += 1,
    }
    // A line without an end was being written when the daemon ended; the one before it says nearly the same.
    for line in lines.filter(|line| line.ends_with('\n')) {
        match serde_json::from_str::<Line>(line).ok().and_then(Line::understood) {
            Some((flow, counts)) => drop(found.insert(flow, counts)),
            None => ignored += 1,
        }
    }
    if ignored > 0 {
        warn!("ignored {ignored} lines of {}", files.path(FILE).display());
    }
    Ok(found)
}

impl Line {
    fn of(flow: &Flow, base: u64, live: u64) -> Self {
        let Flow { service, listener: Listener { address, ports, protocol }, backend, dropped } = flow;
        Line {
            service: service.to_string(),
            address: match address {
                Address::Any => None,
                Address::Exact(address) => Some(*address),
            },
            ports: (ports.first, ports.last),
            protocol: protocol.to_string(),
            backend: backend.as_ref().map(ToString::to_string),
            dropped: dropped.map(|reason| reason.as_str().to_owned()),
            base,
            live,
        }
    }

    fn understood(self) -> Option<(Flow, (u64, u64))> {
        let reason = |text: String| Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
        let listener = Listener {
            address: self.address.map_or(Address::Any, Address::Exact),
            ports: Ports { first: self.ports.0, last: self.ports.1 },
            protocol: Protocol::from_name(&self.protocol)?,
        };
        let flow = Flow {
            service: ServiceName::new(&self.service).ok()?,
            listener,
            backend: self
                .backend
                .map(|name| BackendName::new(&name).ok())
                .map_or(Some(None), |it| it.map(Some))?,
            dropped: self.dropped.map(reason).map_or(Some(None), |it| it.map(Some))?,
        };
        Some((flow, (self.base, self.live)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sluice_core::model::{Backend, BackendPort, Service};
    use sluice_core::tally::Tally;

    use super::*;
    use crate::state::tests::Scratch;

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
        let (bases, totals) = Bases::open(state.files(), &services());
        assert_eq!(shown(&totals), [0, 0, 0]);
        totals.observe(counted([10, 5, 7]));
        totals.keep(counted([4, 0, 0]));
        bases.write(&totals, None);
        let (_, adopted) = Bases::open(state.files(), &services());
        adopted.observe(counted([8, 5, 9]));
        assert_eq!(shown(&adopted), [12, 5, 9]);
        let (_, anew) = Bases::open(state.files(), &services());
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
        let (bases, totals) = Bases::open(state.files(), &services());
        bases.write(&totals, None);
        totals.observe(counted([10, 5, 7]));
        let dns = BTreeSet::from([ServiceName::new("dns").unwrap()]);
        bases.write(&totals, Some(&dns));
        totals.observe(counted([11, 6, 8]));
        bases.write(&totals, Some(&dns));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [11, 0, 0]);
        fs::write(&file, &text[..text.len() - 1]).unwrap();
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [10, 0, 0]);
    }

    #[test]
    fn totals_that_are_shown_are_written_but_not_all_the_time() {
        let state = Scratch::default();
        let (bases, totals) = Bases::open(state.files(), &services());
        totals.observe(counted([10, 5, 7]));
        bases.show(&totals);
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [10, 5, 7]);
        totals.observe(counted([11, 5, 7]));
        bases.place().due = Instant::now() + std::time::Duration::from_secs(3600);
        bases.show(&totals);
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [10, 5, 7]);
        bases.place().due = Instant::now();
        bases.show(&totals);
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [11, 5, 7]);
    }

    #[test]
    fn file_that_has_grown_is_written_anew() {
        let state = Scratch::default();
        let (bases, totals) = Bases::open(state.files(), &services());
        totals.observe(counted([10, 5, 7]));
        bases.write(&totals, None);
        let size = || fs::metadata(state.path().join("totals.jsonl")).unwrap().len();
        let (whole, dns) = (size(), BTreeSet::from([ServiceName::new("dns").unwrap()]));
        let mut largest = whole;
        for _ in 0..20_000 {
            bases.write(&totals, Some(&dns));
            largest = largest.max(size());
        }
        assert!((GROWTH..GROWTH + 4096).contains(&largest), "{largest}");
        bases.write(&totals, None);
        assert_eq!(size(), whole);
        fs::remove_file(state.path().join("totals.jsonl")).unwrap();
        bases.write(&totals, Some(&dns));
        bases.write(&totals, Some(&dns));
        assert_eq!(shown(&Bases::open(state.files(), &services()).1), [10, 5, 7], "somebody deleted it");
    }

    #[test]
    fn totals_of_services_and_backends_that_left_the_file_are_forgotten_at_a_start() {
        let state = Scratch::default();
        let (bases, totals) = Bases::open(state.files(), &services());
        totals.observe(counted([10, 5, 7]));
        bases.write(&totals, None);
        let mut fewer = services();
        fewer.remove(&ServiceName::new("dns").unwrap());
        fewer.values_mut().for_each(|service| service.backends.clear());
        assert_eq!(shown(&Bases::open(state.files(), &fewer).1), [0, 5, 0]);
    }

    #[test]
    fn byte_that_is_no_utf_8_costs_its_line_and_no_other() {
        let state = Scratch::default();
        let (bases, totals) = Bases::open(state.files(), &services());
        totals.observe(counted([10, 5, 7]));
        bases.write(&totals, None);
        let file = state.path().join("totals.jsonl");
        let whole = fs::read(&file).unwrap();
        for (at, left) in
            [("\"version", [10, 5, 7]), ("d1", [0, 5, 7]), ("fd00", [10, 5, 0]), ("7}", [10, 5, 0])]
        {
            let place = whole.windows(at.len()).rposition(|bytes| bytes == at.as_bytes()).unwrap();
            let mut damaged = whole.clone();
            damaged[place] = 0xff;
            fs::write(&file, damaged).unwrap();
            assert_eq!(shown(&Bases::open(state.files(), &services()).1), left, "{at}");
        }
    }

    #[test]
    fn damaged_file_counts_as_none_and_is_written_anew() {
        let state = Scratch::default();
        let file = state.path().join("totals.jsonl");
        for text in ["", "{", "\0\0", "[1]\n", "{\"version\":2}\n", "{\"version\":1}\n{\"service\":7}\nx\n"] {
            fs::write(&file, text).unwrap();
            let (bases, totals) = Bases::open(state.files(), &services());
            assert_eq!(shown(&totals), [0, 0, 0], "{text:?}");
            totals.observe(counted([1, 2, 3]));
            bases.write(&totals, Some(&BTreeSet::new()));
            assert_eq!(shown(&Bases::open(state.files(), &services()).1), [1, 2, 3], "{text:?}");
        }
    }
}
