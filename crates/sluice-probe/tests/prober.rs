//! Probes on their schedule, and what the board says of backends.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use sluice_core::model::{
    BackendKey, BackendName, ExecProbe, HealthCheck, Initial, Probe, ProbeTarget, ServiceName,
};
use sluice_core::pool::health::Health;
use sluice_probe::{BackendHealth, Flip, ProbeOutcome, ProbeResult, Prober, WatchedBackend};
use tokio::net::TcpListener;
use tokio::time::timeout;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key(service: &str) -> BackendKey {
    BackendKey { service: ServiceName::new(service).unwrap(), backend: BackendName::new("b").unwrap() }
}

fn watch(service: &str, port: u16, fall: u16) -> WatchedBackend {
    let interval = Duration::from_millis(20);
    let (probe, timeout) = (Probe::Tcp, Duration::from_secs(1));
    let check = HealthCheck { probe, port: None, interval, timeout, rise: 2, fall, initial: Initial::Up };
    let target = ProbeTarget { address: LOCALHOST, port };
    WatchedBackend {
        key: key(service),
        target,
        check: Arc::new(check),
        from: None,
        served: false,
        known: Health::Unknown,
    }
}

/// Counts connections until it is dropped.
async fn server(port: u16) -> (u16, Arc<AtomicU32>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((LOCALHOST, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let task = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, count, task)
}

/// Waits for the board to say so.
async fn until(prober: &Prober, service: &str, what: impl Fn(&BackendHealth) -> bool) -> BackendHealth {
    until_of(prober, &key(service), what).await
}

async fn until_of(prober: &Prober, key: &BackendKey, what: impl Fn(&BackendHealth) -> bool) -> BackendHealth {
    let wait = async {
        loop {
            if let Some(report) = prober.board().report(key).filter(&what) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("the board says so in time")
}

#[tokio::test]
async fn backend_that_goes_and_comes_is_reported_with_reason_and_count() {
    let (port, _, task) = server(0).await;
    let mut prober = Prober::new();
    prober.watch(vec![watch("web", port, 3)]);
    assert!(until(&prober, "web", |report| report.health == Health::Healthy).await.is_up);
    task.abort();
    let _ = task.await;
    prober.board().changed().await;
    prober.board().take_changes();
    let report = until(&prober, "web", |report| report.health == Health::Unhealthy).await;
    assert!(!report.is_up);
    let last = report.last.unwrap();
    assert_eq!(last.detail, format!("connect 127.0.0.1:{port}: connection refused"));
    assert_eq!(last.in_a_row, (3, 3));
    assert!(prober.board().take_changes().contains_key(&key("web")));
    let _again = server(port).await;
    assert!(until(&prober, "web", |report| report.health == Health::Healthy).await.is_up);
}

#[tokio::test]
async fn backends_of_one_target_and_check_share_a_probe_and_judge_for_themselves() {
    let (port, count, task) = server(0).await;
    let mut prober = Prober::new();
    prober.watch(vec![watch("one", port, 1), watch("two", port, 50)]);
    for service in ["one", "two"] {
        until(&prober, service, |report| report.health == Health::Healthy).await;
    }
    let [one, two] =
        ["one", "two"].map(|service| prober.board().report(&key(service)).unwrap().last.unwrap());
    assert_eq!(one.at.as_millisecond(), two.at.as_millisecond(), "of the same attempt");
    assert!(count.load(Ordering::Relaxed) >= 1);
    task.abort();
    until(&prober, "one", |report| report.health == Health::Unhealthy).await;
    assert_eq!(prober.board().report(&key("two")).unwrap().health, Health::Healthy);
}

/// The same backend, under the name that it has had so far.
/// Backends that are down.
fn down(prober: &Prober) -> BTreeSet<BackendKey> {
    prober.board().down().keys().cloned().collect()
}

fn again(watch: WatchedBackend, before: &str) -> WatchedBackend {
    WatchedBackend { from: Some(key(before)), ..watch }
}

/// Runs attempts that come out as the test says, each at once.
fn scripted(outcome: Arc<Mutex<ProbeResult>>) -> Prober {
    Prober::with(
        Arc::new(move |_, _, _, _| {
            let verdict = *outcome.lock().unwrap();
            let (detail, took) = (format!("{verdict:?}"), Duration::from_millis(1));
            Box::pin(async move { ProbeOutcome { verdict, detail, took } })
        }),
        7,
    )
}

fn report(prober: &Prober, service: &str) -> BackendHealth {
    prober.board().report(&key(service)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn backend_watched_again_keeps_its_verdict_until_the_new_check_has_had_its_say() {
    let outcome = Arc::new(Mutex::new(ProbeResult::Failure));
    let mut prober = scripted(outcome.clone());
    prober.watch(vec![watch("web", 80, 2)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(report(&prober, "web").health, Health::Unhealthy);
    let since = report(&prober, "web").since;
    prober.board().take_changes();
    assert_eq!(down(&prober), [key("web")].into());

    // Another port, and a check that would take it for up if it were new.
    let backends = vec![again(watch("web", 81, 3), "web")];
    assert_eq!(prober.board().preview(&backends), prober.board().down());
    prober.watch(backends);
    let now = report(&prober, "web");
    assert_eq!((now.health, now.is_up, now.since, now.last), (Health::Unhealthy, false, since, None));
    assert_eq!(down(&prober), [key("web")].into());
    *outcome.lock().unwrap() = ProbeResult::Success;
    let succeeded = |report: &BackendHealth| {
        report.last.as_ref().is_some_and(|last| last.verdict == ProbeResult::Success)
    };
    let now = until(&prober, "web", succeeded).await;
    assert_eq!((now.health, now.last.unwrap().in_a_row), (Health::Unhealthy, (1, 2)), "rise is 2");
    until(&prober, "web", |report| report.health == Health::Healthy).await;
    let flip = Flip { was_up: false, is_up: true };
    assert_eq!(prober.board().take_changes(), [(key("web"), flip)].into());
    assert_eq!(down(&prober), [].into());
}

#[tokio::test(start_paused = true)]
async fn backend_watched_again_alike_keeps_its_results_in_a_row_and_its_schedule() {
    let mut prober = scripted(Arc::new(Mutex::new(ProbeResult::Failure)));
    prober.watch(vec![watch("web", 80, 50)]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = report(&prober, "web");
    let count = before.last.as_ref().unwrap().in_a_row.0;
    assert!(count > 5, "{before:?}");
    prober.watch(vec![again(watch("web", 80, 50), "web"), again(watch("other", 80, 50), "web")]);
    assert_eq!([report(&prober, "web"), report(&prober, "other")], [before.clone(), before]);
    until(&prober, "web", |report| report.last.as_ref().is_some_and(|last| last.in_a_row.0 == count + 1))
        .await;
    assert_eq!(report(&prober, "other").last.unwrap().in_a_row.0, count + 1);
    prober.watch(vec![again(watch("other", 80, 50), "other")]);
    assert_eq!(prober.board().report(&key("web")), None, "it is not watched any more");
    prober.watch(vec![again(watch("web", 80, 50), "web")]);
    assert_eq!(report(&prober, "web").last, None, "it was forgotten");
}

#[tokio::test(start_paused = true)]
async fn backends_that_change_places_change_what_is_known_of_them() {
    let mut prober = scripted(Arc::new(Mutex::new(ProbeResult::Skipped)));
    let known = |service, health| WatchedBackend { known: health, ..watch(service, 80, 1) };
    prober.watch(vec![known("a", Health::Unhealthy), known("b", Health::Healthy)]);
    assert_eq!(down(&prober), [key("a")].into());
    let backends =
        vec![again(watch("a", 80, 1), "b"), again(watch("b", 80, 1), "a"), again(watch("c", 80, 1), "a")];
    let preview = prober.board().preview(&backends);
    assert_eq!(preview.keys().cloned().collect::<BTreeSet<_>>(), [key("b"), key("c")].into());
    prober.watch(backends);
    assert_eq!(["a", "b", "c"].map(|service| report(&prober, service).is_up), [true, false, false]);
    assert_eq!(down(&prober), [key("b"), key("c")].into());
}

#[tokio::test(start_paused = true)]
async fn change_that_was_not_taken_yet_is_that_of_the_backend_under_its_new_name() {
    let mut prober = scripted(Arc::new(Mutex::new(ProbeResult::Failure)));
    prober.watch(vec![watch("web", 80, 1)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!report(&prober, "web").is_up);
    let backends = vec![again(watch("other", 81, 1), "web")];
    assert_eq!(*prober.board().preview(&backends), [].into(), "it was not taken");
    prober.watch(backends);
    assert_eq!(down(&prober), [].into());
    let flip = Flip { was_up: true, is_up: false };
    assert_eq!(prober.board().take_changes(), [(key("other"), flip)].into());
    assert_eq!(down(&prober), [key("other")].into());
}

#[tokio::test(start_paused = true)]
async fn new_backend_is_what_its_check_assumes() {
    let mut prober = scripted(Arc::new(Mutex::new(ProbeResult::Skipped)));
    let starts_down = HealthCheck { initial: Initial::Down, ..(*watch("a", 80, 1).check).clone() };
    let backends = vec![
        WatchedBackend { check: Arc::new(starts_down), ..again(watch("a", 80, 1), "gone") },
        watch("b", 80, 1),
    ];
    assert!(prober.board().preview(&backends).keys().eq([&key("a")]));
    prober.watch(backends);
    assert_eq!(down(&prober), [key("a")].into());
    assert_eq!(["a", "b"].map(|service| report(&prober, service).is_up), [false, true]);
    prober.watch(vec![again(watch("a", 80, 1), "a"), again(watch("b", 80, 1), "b")]);
    assert!(!report(&prober, "a").is_up, "`initial` is for new ones");
}

/// A backend of a service, probed by a program on this port of it.
fn program(service: &str, port: u16, command: &[&str], timeout: Duration) -> WatchedBackend {
    let watch = watch(service, port, 1);
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let probe = Probe::Exec(ExecProbe { command, keep_capabilities: false });
    let check = HealthCheck { probe, timeout, rise: 1, ..(*watch.check).clone() };
    let backend = BackendName::new(&format!("b{port}")).unwrap();
    WatchedBackend { key: BackendKey { backend, ..watch.key }, check: Arc::new(check), ..watch }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_a_service_that_hang_delay_no_other_service_and_are_skipped_beyond_its_slots() {
    let mut prober = Prober::new();
    // None of them ends, and the first 32 have all the slots of the service.
    let sleep = ["/bin/sleep", "1000", "{port}"];
    let hanging = (1..=40).map(|port| program("hangs", port, &sleep, Duration::from_secs(60)));
    // This one waits a shorter time for a slot.
    let late = program("hangs", 41, &sleep, Duration::from_millis(100));
    let others =
        (1..=20).map(|port| program("other", port, &["/bin/true", "{port}"], Duration::from_secs(10)));
    let others: Vec<_> = others.collect();
    prober.watch(hanging.chain([late.clone()]).chain(others.clone()).collect());
    let skipped = until_of(&prober, &late.key, |report| {
        report.last.as_ref().is_some_and(|last| last.verdict == ProbeResult::Skipped)
    });
    let last = skipped.await.last.unwrap();
    let reason = "32 programs of this service run, or this host is overloaded";
    assert_eq!(last.detail, format!("run /bin/sleep: not started within 100ms: {reason}"));
    let before = prober.board().report(&others[0].key).unwrap().last.map(|last| last.at);
    for other in &others {
        until_of(&prober, &other.key, |report| {
            report.health == Health::Healthy && report.last.as_ref().map(|last| last.at) > before
        })
        .await;
    }
    let (mut registry, mut metrics) = (Registry::default(), String::new());
    prober.board().register(&mut registry);
    text::encode(&mut metrics, &registry).unwrap();
    assert!(metrics.contains("probes_skipped_total{service=\"other\"} 0\n"), "{metrics}");
    let of_hanging = "probes_skipped_total{service=\"hangs\"} ";
    assert!(metrics.contains(of_hanging) && !metrics.contains(&format!("{of_hanging}0\n")), "{metrics}");
}

#[tokio::test]
async fn backend_that_is_not_watched_any_more_is_not_known() {
    let mut prober = scripted(Arc::new(Mutex::new(ProbeResult::Skipped)));
    prober.watch(vec![watch("web", 80, 3), watch("other", 80, 3)]);
    prober.watch(vec![again(watch("web", 80, 3), "web")]);
    assert_eq!(prober.board().report(&key("other")), None);
    let known = WatchedBackend { known: Health::Unhealthy, ..watch("other", 80, 5) };
    prober.watch(vec![known]);
    assert!(!report(&prober, "other").is_up, "as it was known before");
}
