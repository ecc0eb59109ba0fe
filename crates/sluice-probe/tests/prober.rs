//! Probes on their schedule, and what the board says of backends.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluice_core::health::Health;
use sluice_core::model::{BackendKey, BackendName, HealthCheck, Initial, Probe, ProbeTarget, ServiceName};
use sluice_probe::{Prober, Report, Watch};
use tokio::net::TcpListener;
use tokio::time::timeout;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key(service: &str) -> BackendKey {
    BackendKey { service: ServiceName::new(service).unwrap(), backend: BackendName::new("b").unwrap() }
}

fn watch(service: &str, port: u16, fall: u16) -> Watch {
    let interval = Duration::from_millis(20);
    let (probe, timeout) = (Probe::Tcp, Duration::from_secs(1));
    let check = HealthCheck { probe, port: None, interval, timeout, rise: 2, fall, initial: Initial::Up };
    let target = ProbeTarget { address: LOCALHOST, port };
    Watch { key: key(service), target, check: Arc::new(check), known: Health::Unknown }
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
async fn until(prober: &Prober, service: &str, what: impl Fn(&Report) -> bool) -> Report {
    let wait = async {
        loop {
            if let Some(report) = prober.board().report(&key(service)).filter(&what) {
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
    assert!(prober.board().take_changes().contains(&key("web")));
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

#[tokio::test]
async fn backend_watched_again_keeps_its_health_unless_it_is_asked_otherwise() {
    let (port, ..) = server(0).await;
    let mut prober = Prober::new();
    prober.watch(vec![watch("web", port, 3), watch("other", port, 3)]);
    until(&prober, "web", |report| report.health == Health::Healthy).await;
    prober.watch(vec![watch("web", port, 3)]);
    assert_eq!(prober.board().report(&key("web")).unwrap().health, Health::Healthy);
    assert_eq!(prober.board().report(&key("other")), None);
    prober.watch(vec![watch("web", port, 4)]);
    assert_eq!(prober.board().report(&key("web")).unwrap().health, Health::Unknown);
    let known = Watch { known: Health::Unhealthy, ..watch("web", port, 5) };
    prober.watch(vec![known]);
    assert!(!prober.board().report(&key("web")).unwrap().is_up, "as it was known before");
}
