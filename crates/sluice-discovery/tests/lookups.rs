//! Lookups from result to result, on a paused clock with a stand-in for DNS servers and files.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sluice_core::model::{Answer, Found, HostName, Lookup, Resolver};
use sluice_discovery::{Ask, Discovery, LookupError, LookupState, MAX_FOUND, Reply, SavedAnswers};
use sluice_nft::Ip;
use tokio::time::{Instant, sleep, timeout};

type Result = std::result::Result<Reply, LookupError>;

/// Answers each lookup with what was last set, and counts questions.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<BTreeMap<Lookup, Scripted>>>);

#[derive(Default)]
struct Scripted {
    /// `None`: no answer ever comes.
    result: Option<Result>,
    asked: Vec<Instant>,
}

impl Script {
    fn set(&self, lookup: &Lookup, result: Result) {
        self.0.lock().unwrap().entry(lookup.clone()).or_default().result = Some(result);
    }

    /// The lookup gets no answer from now on.
    fn hang(&self, lookup: &Lookup) {
        self.0.lock().unwrap().entry(lookup.clone()).or_default().result = None;
    }

    /// Times of questions since the last call.
    fn asked(&self, lookup: &Lookup) -> Vec<Instant> {
        std::mem::take(&mut self.0.lock().unwrap().entry(lookup.clone()).or_default().asked)
    }

    fn ask(&self) -> Ask {
        let script = self.0.clone();
        Arc::new(move |_, lookup| {
            let script = script.clone();
            Box::pin(async move {
                let result = {
                    let mut script = script.lock().unwrap();
                    let Scripted { result, asked } = script.entry(lookup).or_default();
                    asked.push(Instant::now());
                    result.clone()
                };
                match result {
                    Some(result) => result,
                    None => std::future::pending().await,
                }
            })
        })
    }

    fn discovery(&self) -> Discovery {
        Discovery::new(self.ask()).with_seed(1)
    }
}

fn host(name: &str) -> Lookup {
    Lookup::Host(HostName::new(name).unwrap(), Ip::V4)
}

fn found(address: &str) -> Found {
    let address = address.parse().unwrap();
    Found { address, port: None, name: None, weight: None, backup: None, max_connections: None }
}

fn reply(addresses: &[&str]) -> Reply {
    let answer = Answer { found: addresses.iter().map(|address| found(address)).collect() };
    Reply::new(answer, Some(Duration::from_secs(5)))
}

fn ok(addresses: &[&str]) -> Result {
    Ok(reply(addresses))
}

fn err(message: &str) -> Result {
    Err(LookupError(message.to_owned()))
}

fn addresses(state: &LookupState) -> Option<Vec<IpAddr>> {
    Some(state.answer.as_ref()?.found.iter().map(|found| found.address).collect())
}

fn only(discovery: &Discovery) -> LookupState {
    discovery.board().states().values().next().unwrap().clone()
}

fn message(discovery: &Discovery) -> Option<String> {
    only(discovery).error.map(|error| error.message)
}

fn one(lookup: &Lookup) -> BTreeSet<Lookup> {
    BTreeSet::from([lookup.clone()])
}

fn ips(addresses: &[&str]) -> Option<Vec<IpAddr>> {
    Some(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

/// Far less than the TTL of answers here, and more than what a task takes.
const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn answer_when_its_ttl_is_over_is_asked_for_again() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.2", "10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    let changes = discovery.board().take_changes();
    assert_eq!(addresses(&changes[&web]), ips(&["10.0.0.1", "10.0.0.2"]));
    sleep(Duration::from_secs(50)).await;
    let asked = script.asked(&web);
    assert!((9..=12).contains(&asked.len()), "{}", asked.len());
    for pair in asked.windows(2).skip(1) {
        let wait = (pair[1] - pair[0]).as_millis();
        assert!((4_500..=5_501).contains(&wait), "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_answer_in_another_order_wakes_nobody() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1", "10.0.0.2"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    discovery.board().take_changes();
    let before = only(&discovery);
    script.set(&web, ok(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]));
    assert!(timeout(Duration::from_secs(60), discovery.board().changed()).await.is_err());
    assert_eq!(discovery.board().take_changes(), BTreeMap::new());
    let after = only(&discovery);
    assert!(Arc::ptr_eq(before.answer.as_ref().unwrap(), after.answer.as_ref().unwrap()));
    assert!(after.answered >= before.answered && after.queries > before.queries);
    assert_eq!((after.changes, after.failures, after.is_stale()), (1, 0, false));
}

#[tokio::test(start_paused = true)]
async fn answer_when_an_outage_lasts_ten_minutes_stays() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    discovery.board().take_changes();
    script.set(&web, err("timeout"));
    discovery.board().changed().await;
    let state = discovery.board().take_changes()[&web].clone();
    assert_eq!((addresses(&state), state.is_stale()), (ips(&["10.0.0.1"]), true));
    script.asked(&web);
    // Only the beginning and the end of an outage are changes.
    assert!(timeout(Duration::from_secs(600), discovery.board().changed()).await.is_err());
    let state = only(&discovery);
    assert_eq!((addresses(&state), state.is_stale()), (ips(&["10.0.0.1"]), true));
    let error = state.error.unwrap();
    assert!(error.since <= error.at);
    let asked = script.asked(&web);
    assert!((asked[1] - asked[0]).as_secs() < 5, "the first retries come soon");
    assert!((20..=35).contains(&asked.len()), "{}", asked.len());
    script.set(&web, ok(&["10.0.0.1"]));
    timeout(Duration::from_secs(31), discovery.board().changed()).await.unwrap();
    let state = discovery.board().take_changes()[&web].clone();
    assert_eq!((state.error.clone(), state.is_stale(), state.changes), (None, false, 1));
}

#[tokio::test(start_paused = true)]
async fn empty_answer_counts_when_it_has_lasted_for_hold() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    discovery.board().take_changes();
    script.set(&web, ok(&[]));
    discovery.board().changed().await;
    let begun = Instant::now();
    discovery.board().take_changes();
    assert_eq!(message(&discovery).unwrap(), "the name has no such records (NODATA)");
    assert_eq!(addresses(&only(&discovery)), ips(&["10.0.0.1"]));
    discovery.board().changed().await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    let state = discovery.board().take_changes()[&web].clone();
    assert_eq!((addresses(&state), state.error), (ips(&[]), None));
    script.set(&web, ok(&["10.0.0.9"]));
    discovery.board().changed().await;
    assert_eq!(addresses(&only(&discovery)), ips(&["10.0.0.9"]));
}

#[tokio::test(start_paused = true)]
async fn empty_answer_after_an_answer_begins_a_new_hold() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    for _ in 0..4 {
        script.set(&web, ok(&[]));
        sleep(Duration::from_secs(20)).await;
        script.set(&web, ok(&["10.0.0.1"]));
        sleep(Duration::from_secs(40)).await;
    }
    assert_eq!(only(&discovery).changes, 1);
}

#[tokio::test(start_paused = true)]
async fn changes_until_they_are_taken_are_coalesced() {
    let (script, web) = (Script::default(), host("web.example"));
    let mut discovery = script.discovery();
    script.set(&web, ok(&["10.0.0.0"]));
    discovery.watch(&Resolver::default(), one(&web));
    for last in 1..=9 {
        sleep(Duration::from_secs(6)).await;
        script.set(&web, ok(&[&format!("10.0.0.{last}")]));
    }
    sleep(Duration::from_secs(6)).await;
    discovery.board().changed().await;
    let changes = discovery.board().take_changes();
    assert_eq!(addresses(&changes[&web]), ips(&["10.0.0.9"]));
    assert!(timeout(Duration::from_secs(60), discovery.board().changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn lookup_when_other_lookups_change_goes_on() {
    let script = Script::default();
    let [a, b] = ["a.example", "b.example"].map(host);
    script.set(&a, ok(&["10.0.0.1"]));
    script.set(&b, ok(&["10.0.0.2"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&a));
    sleep(MOMENT).await;
    script.asked(&a);
    discovery.watch(&Resolver::default(), BTreeSet::from([a.clone(), b.clone()]));
    sleep(MOMENT).await;
    assert_eq!((script.asked(&a).len(), script.asked(&b).len()), (0, 1));
    discovery.watch(&Resolver::default(), one(&b));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(script.asked(&a).len(), 0);
    assert!(script.asked(&b).len() > 9);
    assert_eq!(discovery.board().states().keys().collect::<Vec<_>>(), [&b]);
    assert_eq!(discovery.board().take_changes().keys().collect::<Vec<_>>(), [&b]);
}

#[tokio::test(start_paused = true)]
async fn answer_when_the_resolver_changes_stays_until_the_next() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    discovery.board().take_changes();
    script.hang(&web);
    script.asked(&web);
    let resolver = Resolver { timeout: Duration::from_secs(2), ..Resolver::default() };
    discovery.watch(&resolver, one(&web));
    sleep(MOMENT).await;
    assert_eq!(script.asked(&web).len(), 1, "asked at once");
    assert_eq!(addresses(&only(&discovery)), ips(&["10.0.0.1"]));
    script.set(&web, ok(&["10.0.0.2"]));
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    assert_eq!(addresses(&discovery.board().take_changes()[&web]), ips(&["10.0.0.2"]));
}

#[tokio::test(start_paused = true)]
async fn restored_answer_is_in_force_and_stale_until_it_is_answered() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut first = script.discovery();
    first.watch(&Resolver::default(), one(&web));
    first.board().changed().await;
    let text = serde_json::to_string(&first.board().saved()).unwrap();
    drop(first);

    script.set(&web, err("timeout"));
    let mut discovery = script.discovery();
    let mut restored = serde_json::from_str::<SavedAnswers>(&text).unwrap().restored();
    let hour_ago = Timestamp::now() - Duration::from_secs(3600);
    restored.get_mut(&web).unwrap().1 = hour_ago;
    discovery.restore(restored);
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    let state = discovery.board().take_changes()[&web].clone();
    assert_eq!(addresses(&state), ips(&["10.0.0.1"]));
    assert_eq!((state.is_stale(), state.answered), (true, Some(hour_ago)));
    discovery.board().changed().await;
    sleep(Duration::from_secs(60)).await;
    let state = only(&discovery);
    assert_eq!((addresses(&state), state.answered), (ips(&["10.0.0.1"]), Some(hour_ago)));
    discovery.board().take_changes();
    script.set(&web, ok(&["10.0.0.1"]));
    discovery.board().changed().await;
    let state = discovery.board().take_changes()[&web].clone();
    assert_eq!((state.is_stale(), state.changes), (false, 0));
    assert!(state.answered > Some(hour_ago));
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_too_large_is_an_error() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    let address = |number: usize| found(&format!("10.1.{}.{}", number / 256, number % 256));
    let large = |number| Reply::new(Answer { found: (0..number).map(address).collect() }, None);
    script.set(&web, Ok(large(MAX_FOUND + 1)));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(message(&discovery).unwrap(), "10001 backends; at most 10000 are allowed");
    assert_eq!(addresses(&only(&discovery)), ips(&["10.0.0.1"]));
    script.set(&web, Ok(large(MAX_FOUND)));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(addresses(&only(&discovery)).unwrap().len(), MAX_FOUND);
}

#[tokio::test(start_paused = true)]
async fn incomplete_answer_adds_backends_and_keeps_those_it_lacks() {
    let (script, web) = (Script::default(), host("web.example"));
    script.set(&web, ok(&["10.0.0.1", "10.0.0.2"]));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&web));
    discovery.board().changed().await;
    let error = Some("a file is unreadable".to_owned());
    script.set(&web, Ok(Reply { error, keeps_previous: true, ..reply(&["10.0.0.3"]) }));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(addresses(&only(&discovery)), ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    assert_eq!(message(&discovery).unwrap(), "a file is unreadable");
    assert!(only(&discovery).is_stale());
}

#[tokio::test(start_paused = true)]
async fn files_without_an_error_are_read_at_each_refresh() {
    let (script, files) = (Script::default(), Lookup::Files("/run/web.d/*.yaml".into()));
    script.set(&files, Ok(Reply { ttl: None, ..reply(&["10.0.0.1"]) }));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), one(&files));
    sleep(Duration::from_secs(299)).await;
    assert_eq!(script.asked(&files).len(), 10);
    let mut discovery = script.discovery().with_refresh(None);
    discovery.watch(&Resolver::default(), one(&files));
    sleep(Duration::from_secs(299)).await;
    assert_eq!(script.asked(&files).len(), 1 + 10);
}

#[tokio::test(start_paused = true)]
async fn queries_for_many_names_are_spread_over_the_ttl() {
    let script = Script::default();
    let names: BTreeSet<_> = (0..5_000).map(|number| host(&format!("n{number}.example"))).collect();
    names.iter().for_each(|name| script.set(name, ok(&["10.0.0.1"])));
    let mut discovery = script.discovery();
    discovery.watch(&Resolver::default(), names.clone());
    let mut per_second = BTreeMap::<u64, usize>::new();
    let begun = Instant::now();
    sleep(Duration::from_secs(60)).await;
    for time in names.iter().flat_map(|name| script.asked(name)) {
        *per_second.entry((time - begun).as_secs()).or_default() += 1;
    }
    let busiest = per_second.range(1..).map(|(_, number)| *number).max().unwrap();
    assert!(busiest < 1_700, "{per_second:?}");
}
