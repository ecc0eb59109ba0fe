//! Lookups with real DNS servers: dnsmasq from Debian, and small ones for answers that it does not give. In a network
//! namespace, so that each test has port 53 of a loopback address of its own.

mod dnsmasq;
mod stub;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use sluice_core::model::{BackendPort, HostName, Lookup, Resolver};
use sluice_discovery::{Discovery, LookupState};
use sluice_nft::Ip;

use dnsmasq::Dnsmasq;
use stub::Stub;

/// An address that no other test has.
fn an_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    (Ipv4Addr::new(127, 1, NEXT.fetch_add(1, Ordering::Relaxed), 53), 53).into()
}

fn name(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn host(host: &str) -> Lookup {
    Lookup::Host(name(host), Ip::V4)
}

fn srv(service: &str) -> Lookup {
    Lookup::Srv(name(service), Ip::V4)
}

/// Settings with which tests do not take long.
fn resolver(servers: &[SocketAddr]) -> Resolver {
    let [timeout, min_ttl, max_ttl, hold] = [1_000, 100, 300_000, 1_000].map(Duration::from_millis);
    Resolver { servers: servers.to_vec(), timeout, min_ttl, max_ttl, hold }
}

fn discovery(resolver: &Resolver, lookups: &[Lookup]) -> Discovery {
    let mut discovery = Discovery::with_resolv_conf("/nonexistent/resolv.conf".into());
    discovery.watch(resolver, lookups.iter().cloned().collect());
    discovery
}

/// Waits until the state of a lookup is as wanted.
async fn until(
    discovery: &Discovery,
    lookup: &Lookup,
    is_wanted: impl Fn(&LookupState) -> bool,
) -> LookupState {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let state = discovery.board().states()[lookup].clone();
        if is_wanted(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{lookup}: {state:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn answered(discovery: &Discovery, lookup: &Lookup) -> LookupState {
    until(discovery, lookup, |state| state.answer.is_some()).await
}

async fn failed(discovery: &Discovery, lookup: &Lookup) -> String {
    until(discovery, lookup, |state| state.error.is_some()).await.error.unwrap().message
}

fn addresses(state: &LookupState) -> BTreeSet<String> {
    state.answer.iter().flat_map(|answer| &answer.found).map(|found| found.address.to_string()).collect()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn names_of_both_versions_and_aliases_are_resolved() {
    let server = Dnsmasq::start(
        an_address(),
        "host-record=web.example,10.0.0.1,2001:db8::1
         host-record=four.example,10.0.0.4
         cname=one.example,two.example,three.example,web.example",
    );
    let aaaa = |host: &str| Lookup::Host(name(host), Ip::V6);
    let lookups = [host("web.example"), aaaa("web.example"), host("one.example"), aaaa("four.example")];
    let discovery = discovery(&resolver(&[server.address()]), &lookups);
    assert_eq!(addresses(&answered(&discovery, &lookups[0]).await), set(&["10.0.0.1"]));
    assert_eq!(addresses(&answered(&discovery, &lookups[1]).await), set(&["2001:db8::1"]));
    assert_eq!(addresses(&answered(&discovery, &lookups[2]).await), set(&["10.0.0.1"]));
    assert_eq!(failed(&discovery, &lookups[3]).await, "the name has no such records (NODATA)");
    // It lasts for as long as `hold` says.
    let state = answered(&discovery, &lookups[3]).await;
    assert_eq!((addresses(&state), state.error), (set(&[]), None));
}

#[tokio::test]
async fn srv_records_become_backends_with_weights_and_backups() {
    let server = Dnsmasq::start(
        an_address(),
        "host-record=a.example,10.0.0.1
         host-record=b.example,10.0.0.2
         host-record=c.example,10.0.0.3
         srv-host=_http._tcp.web.example,a.example,8080,10,1000
         srv-host=_http._tcp.web.example,b.example,8081,10,500
         srv-host=_http._tcp.web.example,c.example,8082,20,0
         srv-host=_http._tcp.none.example
         srv-host=_http._tcp.lost.example,a.example,80,10,1
         srv-host=_http._tcp.lost.example,nowhere.example,80,10,1",
    );
    let services = ["web", "none", "lost"].map(|service| srv(&format!("_http._tcp.{service}.example")));
    let discovery = discovery(&resolver(&[server.address()]), &services);
    let state = answered(&discovery, &services[0]).await;
    let found: Vec<_> = state.answer.as_ref().unwrap().found.iter().collect();
    let shown: BTreeMap<_, _> = found
        .iter()
        .map(|found| {
            (found.address.to_string(), (found.port.unwrap(), found.weight.unwrap(), found.backup.unwrap()))
        })
        .collect();
    let expected = [
        ("10.0.0.1", (BackendPort::One(8080), 256, false)),
        ("10.0.0.2", (BackendPort::One(8081), 128, false)),
        ("10.0.0.3", (BackendPort::One(8082), 1, true)),
    ];
    assert_eq!(shown, expected.map(|(address, backend)| (address.to_string(), backend)).into());
    // A target of `.` says that there is no such service.
    assert_eq!(addresses(&answered(&discovery, &services[1]).await), set(&[]));
    assert_eq!(
        failed(&discovery, &services[2]).await,
        "the target nowhere.example does not exist (NXDOMAIN)"
    );
}

#[tokio::test]
async fn answer_when_the_name_is_gone_stays_until_it_is_back() {
    let server = Dnsmasq::start(an_address(), "");
    server.hosts("10.0.0.1 web.example\n10.0.0.2 web.example");
    let web = host("web.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    // The TTL of these is 0: the least time between queries counts.
    until(&discovery, &web, |state| addresses(state) == set(&["10.0.0.1", "10.0.0.2"])).await;
    server.hosts("");
    assert_eq!(failed(&discovery, &web).await, "the name does not exist (NXDOMAIN)");
    let state = until(&discovery, &web, |state| state.failures > 3).await;
    assert_eq!((addresses(&state), state.is_stale()), (set(&["10.0.0.1", "10.0.0.2"]), true));
    server.hosts("10.0.0.2 web.example\n10.0.0.3 web.example");
    let state = until(&discovery, &web, |state| state.error.is_none()).await;
    assert_eq!((addresses(&state), state.is_stale()), (set(&["10.0.0.2", "10.0.0.3"]), false));
}

#[tokio::test]
async fn answer_of_200_records_comes_over_tcp() {
    let server = Dnsmasq::start(an_address(), "");
    let lines: Vec<_> = (0..200).map(|number| format!("10.0.1.{number} web.example\n")).collect();
    server.hosts(&lines.concat());
    let web = host("web.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    until(&discovery, &web, |state| addresses(state).len() == 200).await;
}

#[tokio::test]
async fn truncated_answer_without_tcp_is_an_error() {
    let server = Stub::start(an_address(), |query| stub::reply(query, stub::TRUNCATED, 0, &["10.0.0.1"], 5));
    let web = host("web.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    let error = failed(&discovery, &web).await;
    assert!(error.starts_with("no answer for web.example: 127.1."), "{error}");
    let state = until(&discovery, &web, |state| state.failures > 2).await;
    assert_eq!(state.answer, None);
}

#[tokio::test]
async fn server_that_hangs_or_fails_changes_no_answer() {
    let trouble = Arc::new(AtomicU8::new(0));
    let kind = trouble.clone();
    let server = Stub::start(an_address(), move |query| match kind.load(Ordering::Relaxed) {
        0 => stub::reply(query, 0, 0, &["10.0.0.1"], 0),
        1 => stub::reply(query, 0, stub::SERVFAIL, &[], 0),
        2 => stub::reply(query, 0, stub::REFUSED, &[], 0),
        3 => query.get(..2).map(|id| [id, &[0x81, 0x80, 0, 1, 0xff]].concat()),
        _ => None,
    });
    let web = host("web.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    answered(&discovery, &web).await;
    for (number, expected) in [(1, "SERVFAIL"), (2, "REFUSED"), (3, "invalid answer"), (4, "timeout (1s)")] {
        trouble.store(number, Ordering::Relaxed);
        let has_error =
            |state: &LookupState| state.error.as_ref().is_some_and(|error| error.message.contains(expected));
        let state = until(&discovery, &web, has_error).await;
        assert_eq!((addresses(&state), state.changes), (set(&["10.0.0.1"]), 1));
    }
    trouble.store(0, Ordering::Relaxed);
    let state = until(&discovery, &web, |state| state.error.is_none()).await;
    assert_eq!(state.changes, 1);
}

#[tokio::test]
async fn dead_server_costs_one_timeout_and_the_other_is_preferred() {
    let dead = Stub::start(an_address(), |_| None);
    let server = Dnsmasq::start(an_address(), "host-record=web.example,10.0.0.1");
    let web = host("web.example");
    let discovery = discovery(&resolver(&[dead.address(), server.address()]), std::slice::from_ref(&web));
    let state = answered(&discovery, &web).await;
    assert!(state.took >= Duration::from_secs(1), "{:?}", state.took);
    assert_eq!((addresses(&state), state.failures), (set(&["10.0.0.1"]), 0));
    let asked = dead.asked();
    let state = until(&discovery, &web, |state| state.queries > 5).await;
    assert!(state.took < Duration::from_secs(1), "{:?}", state.took);
    assert_eq!(dead.asked(), asked);
}

#[tokio::test]
async fn name_without_a_final_dot_is_searched_as_resolv_conf_says() {
    let server = Dnsmasq::start(
        an_address(),
        "host-record=web.prod.example,10.0.0.1
         host-record=db.web.prod.example,10.0.0.2
         host-record=web.other.example,10.0.0.9",
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let ip = server.address().ip();
    let text = format!("nameserver {ip}\nsearch prod.example other.example\noptions ndots:2\n");
    std::fs::write(&path, text).unwrap();
    let lookups = [host("web"), host("db.web"), host("web.other.example"), host("web.")];
    let mut discovery = Discovery::with_resolv_conf(path);
    discovery.watch(&resolver(&[]), lookups.iter().cloned().collect());
    assert_eq!(addresses(&answered(&discovery, &lookups[0]).await), set(&["10.0.0.1"]));
    assert_eq!(addresses(&answered(&discovery, &lookups[1]).await), set(&["10.0.0.2"]));
    assert_eq!(addresses(&answered(&discovery, &lookups[2]).await), set(&["10.0.0.9"]));
    failed(&discovery, &lookups[3]).await;
}

#[tokio::test]
async fn error_for_a_name_of_the_search_list_ends_the_search() {
    let server = Stub::start(an_address(), |query| {
        let is_first = query.windows(5).any(|bytes| bytes == b"\x04prod");
        let (code, addresses): (u8, &[&str]) =
            if is_first { (stub::SERVFAIL, &[]) } else { (0, &["10.0.0.9"]) };
        stub::reply(query, 0, code, addresses, 5)
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let ip = server.address().ip();
    std::fs::write(&path, format!("nameserver {ip}\nsearch prod.example other.example\noptions ndots:5\n"))
        .unwrap();
    let web = host("web");
    let mut discovery = Discovery::with_resolv_conf(path);
    discovery.watch(&resolver(&[]), [web.clone()].into());
    assert!(failed(&discovery, &web).await.contains("SERVFAIL"));
    let state = until(&discovery, &web, |state| state.failures > 2).await;
    assert_eq!(state.answer, None);
}

#[tokio::test]
async fn subset_of_records_that_rotates_becomes_the_answer_each_time() {
    let number = AtomicU8::new(0);
    let server = Stub::start(an_address(), move |query| {
        let first = number.fetch_add(1, Ordering::Relaxed) % 4;
        let subset: Vec<_> = (first..first + 2).map(|last| format!("10.0.0.{last}")).collect();
        stub::reply(query, 0, 0, &subset.iter().map(String::as_str).collect::<Vec<_>>(), 0)
    });
    let web = host("web.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    let state = until(&discovery, &web, |state| state.changes > 4).await;
    assert_eq!((addresses(&state).len(), state.failures), (2, 0));
}

#[tokio::test]
async fn chain_of_aliases_without_an_end_is_an_error() {
    let server = Stub::start(an_address(), stub::alias_of_another);
    let web = host("a.example");
    let discovery = discovery(&resolver(&[server.address()]), std::slice::from_ref(&web));
    let error = failed(&discovery, &web).await;
    assert_eq!(error, "a.example is an alias of more than 16 names");
}

#[tokio::test]
async fn servers_when_the_resolver_changes_are_asked_at_once() {
    let first = Dnsmasq::start(an_address(), "host-record=web.example,10.0.0.1\nlocal-ttl=300");
    let second = Dnsmasq::start(an_address(), "host-record=web.example,10.0.0.2\nlocal-ttl=300");
    let web = host("web.example");
    let mut discovery = discovery(&resolver(&[first.address()]), std::slice::from_ref(&web));
    assert_eq!(addresses(&answered(&discovery, &web).await), set(&["10.0.0.1"]));
    discovery.watch(&resolver(&[second.address()]), [web.clone()].into());
    until(&discovery, &web, |state| addresses(state) == set(&["10.0.0.2"])).await;
}
