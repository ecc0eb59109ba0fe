//! Tests of [`TotalsStore`] and [`TotalsWriter`] with a state directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, DropReason, Listener, Ports, Protocol, Service, ServiceName,
    Services,
};
use sluice_core::render::connection_counts::ConnectionCounts;
use sluice_core::render::owner::Flow;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::store::TotalsStore;
use super::totals::Totals;
use super::writer::{GROWTH, TotalsWriter};
use crate::state::tests::Scratch;

fn open(state: &Scratch, services: &Services) -> (TotalsStore, TotalsWriter, Totals) {
    TotalsStore::open(state.files(), services, mpsc::unbounded_channel().0)
}

fn flow(service: &str, listen: Option<IpAddr>, backend: Option<&str>, dropped: Option<DropReason>) -> Flow {
    let address = listen.map_or(Address::Any, Address::Exact);
    let listener = Listener { address, ports: Ports { first: 80, last: 89 }, protocol: Protocol::Udp };
    let backend = backend.map(|name| BackendName::new(name).unwrap());
    Flow { service: ServiceName::new(service).unwrap(), listener, backend, dropped }
}

fn flows() -> [Flow; 3] {
    [
        flow("dns", None, Some("d1"), None),
        flow("web", Some("2001:db8::10".parse().unwrap()), None, Some(DropReason::Denied)),
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

fn counted(counts: [u64; 3]) -> ConnectionCounts {
    flows().into_iter().zip(counts).collect()
}

fn shown(totals: &Totals) -> [u64; 3] {
    let counted = totals.counted();
    flows().map(|flow| counted.flows().get(&flow).copied().unwrap_or_default())
}

#[test]
fn saved_totals_continue_with_and_without_the_elements_in_the_kernel() {
    let state = Scratch::default();
    let (store, mut writer, totals) = open(&state, &services());
    assert_eq!(shown(&totals), [0, 0, 0]);
    totals.observe(counted([10, 5, 7]));
    totals.end_change(counted([4, 0, 0]));
    store.save(None);
    writer.write_due();
    let (.., adopted) = open(&state, &services());
    adopted.observe(counted([8, 5, 9]));
    assert_eq!(shown(&adopted), [12, 5, 9]);
    let (.., anew) = open(&state, &services());
    assert_eq!(shown(&anew), [10, 5, 7]);
    anew.observe(ConnectionCounts::new());
    assert_eq!(shown(&anew), [10, 5, 7]);
    anew.observe(counted([0, 0, 1]));
    assert_eq!(shown(&anew), [10, 5, 8]);
}

#[test]
fn last_complete_line_of_a_flow_is_valid() {
    let state = Scratch::default();
    let file = state.path().join("totals.jsonl");
    let (store, mut writer, totals) = open(&state, &services());
    store.save(None);
    writer.write_due();
    totals.observe(counted([10, 5, 7]));
    let dns = BTreeSet::from([ServiceName::new("dns").unwrap()]);
    store.save(Some(&dns));
    writer.write_due();
    totals.observe(counted([11, 6, 8]));
    store.save(Some(&dns));
    writer.write_due();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(shown(&open(&state, &services()).2), [11, 0, 0]);
    fs::write(&file, &text[..text.len() - 1]).unwrap();
    assert_eq!(shown(&open(&state, &services()).2), [10, 0, 0]);
}

#[tokio::test]
async fn totals_are_saved_before_they_are_shown_unless_saved_recently() {
    let state = Scratch::default();
    let (store, mut writer, totals) = open(&state, &services());
    for (rested, count, expected) in
        [(Duration::ZERO, 10, 10), (Duration::from_secs(3600), 11, 10), (Duration::ZERO, 12, 12)]
    {
        totals.observe(counted([count, 5, 7]));
        writer.rested = Instant::now() + rested;
        let written = async {
            tokio::task::yield_now().await;
            writer.write_due();
        };
        tokio::join!(store.save_for_reader(), written);
        assert_eq!(shown(&open(&state, &services()).2), [expected, 5, 7]);
    }
}

#[test]
fn file_that_has_grown_is_rewritten() {
    let state = Scratch::default();
    let (store, mut writer, totals) = open(&state, &services());
    totals.observe(counted([10, 5, 7]));
    store.save(None);
    writer.write_due();
    let size = || fs::metadata(state.path().join("totals.jsonl")).unwrap().len();
    let (whole, dns) = (size(), BTreeSet::from([ServiceName::new("dns").unwrap()]));
    let mut largest = whole;
    for _ in 0..20_000 {
        store.save(Some(&dns));
        writer.write_due();
        largest = largest.max(size());
    }
    assert!((GROWTH..GROWTH + 4096).contains(&largest), "{largest}");
    store.save(None);
    writer.write_due();
    assert_eq!(size(), whole);
    fs::remove_file(state.path().join("totals.jsonl")).unwrap();
    store.save(Some(&dns));
    writer.write_due();
    store.save(Some(&dns));
    writer.write_due();
    assert_eq!(shown(&open(&state, &services()).2), [10, 5, 7], "after a deletion of the file");
}

#[test]
fn totals_of_removed_services_and_backends_are_dropped_at_a_start() {
    let state = Scratch::default();
    let (store, mut writer, totals) = open(&state, &services());
    totals.observe(counted([10, 5, 7]));
    store.save(None);
    writer.write_due();
    let mut fewer = services();
    fewer.remove(&ServiceName::new("dns").unwrap());
    fewer.values_mut().for_each(|service| service.backends.clear());
    assert_eq!(shown(&open(&state, &fewer).2), [0, 5, 0]);
}

#[test]
fn invalid_utf_8_invalidates_only_its_line() {
    let state = Scratch::default();
    let (store, mut writer, totals) = open(&state, &services());
    totals.observe(counted([10, 5, 7]));
    store.save(None);
    writer.write_due();
    let file = state.path().join("totals.jsonl");
    let whole = fs::read(&file).unwrap();
    for (at, left) in [("\"version", [10, 5, 7]), ("d1", [0, 5, 7]), ("fd00", [10, 5, 0]), ("7}", [10, 5, 0])]
    {
        let place = whole.windows(at.len()).rposition(|bytes| bytes == at.as_bytes()).unwrap();
        let mut damaged = whole.clone();
        damaged[place] = 0xff;
        fs::write(&file, damaged).unwrap();
        assert_eq!(shown(&open(&state, &services()).2), left, "{at}");
    }
}

#[test]
fn damaged_file_is_ignored_and_rewritten() {
    let state = Scratch::default();
    let file = state.path().join("totals.jsonl");
    for text in ["", "{", "\0\0", "[1]\n", "{\"version\":2}\n", "{\"version\":1}\n{\"service\":7}\nx\n"] {
        fs::write(&file, text).unwrap();
        let (store, mut writer, totals) = open(&state, &services());
        assert_eq!(shown(&totals), [0, 0, 0], "{text:?}");
        totals.observe(counted([1, 2, 3]));
        store.save(Some(&BTreeSet::from([ServiceName::new("dns").unwrap()])));
        writer.write_due();
        assert_eq!(shown(&open(&state, &services()).2), [1, 2, 3], "{text:?}");
    }
}
