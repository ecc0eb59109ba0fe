//! Shared by test modules: a service `web` with the probed backends `a` and `b`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_api::{BackendStatus, Health, OverrideChange, ServiceStatus};
use sluice_nft::Protocol;
use sluice_nft::trace::{Outcome, Packet};
use tokio::time::sleep;

use crate::host::{Daemon, Host};

/// Address of `a`.
pub(crate) const A: &str = "10.0.2.11:80";
/// Address of `b`.
pub(crate) const B: &str = "10.0.2.12:80";

/// Longer than `fall` or `rise` probes of [`checked`] take.
pub(crate) const A_WHILE: Duration = Duration::from_secs(10);

/// A file with the service `web` on port 80, these backends, and a check with these additional keys.
pub(crate) fn checked(check: &str, backends: &str) -> String {
    service(
        "web",
        &format!("health: {{tcp: {{}}, interval: 1s, timeout: 1s, {check}}}, backends: {backends}"),
    )
}

/// A file with one service on port 80.
pub(crate) fn service(name: &str, keys: &str) -> String {
    format!("services: {{{name}: {{listen: '203.0.113.10:80', {keys}}}}}\nrefresh: 0")
}

pub(crate) const TWO: &str = "[{name: a, address: '10.0.2.11:80'}, {name: b, address: '10.0.2.12:80'}]";

/// The file with backends `a` and `b`.
pub(crate) fn web() -> String {
    checked("", TWO)
}

/// Number of connections per backend in the kernel, of 40 clients.
pub(crate) fn served(host: &Host) -> BTreeMap<SocketAddr, usize> {
    let mut served = BTreeMap::new();
    for port in 10_000..10_040 {
        let source = format!("198.51.100.7:{port}").parse().unwrap();
        let packet = Packet::arriving(Protocol::Tcp, source, "203.0.113.10:80".parse().unwrap());
        match host.kernel().send(&packet).outcome {
            Outcome::Translated { to, .. } => *served.entry(to).or_default() += 1,
            outcome => assert_eq!(outcome, Outcome::Reset, "nobody serves"),
        }
    }
    served
}

/// Status of the only service. Checks it against the kernel.
pub(crate) async fn look(daemon: &Daemon<'_>) -> ServiceStatus {
    let status = daemon.status().await;
    assert!(status.table.synced, "{:?}", status.table);
    let service = status.services.into_iter().next().unwrap();
    let served = served(daemon.host);
    for backend in &service.backends {
        let share = served.get(&backend.address.parse().unwrap()).map_or(0.0, |count| *count as f64 / 40.0);
        assert!((backend.share - share).abs() < 0.05, "{backend:?} has {share} in the kernel");
        assert_eq!(backend.eligible && backend.weight > 0, backend.share > 0.0, "{backend:?}");
    }
    service
}

pub(crate) fn of(service: &ServiceStatus, name: &str) -> BackendStatus {
    service.backends.iter().find(|backend| backend.name == name).unwrap().clone()
}

/// Health and eligibility of a backend.
pub(crate) async fn state(daemon: &Daemon<'_>, name: &str) -> (Health, bool) {
    let BackendStatus { health, eligible, .. } = of(&look(daemon).await, name);
    (health, eligible)
}

/// [`state`] of `a` and `b`.
pub(crate) async fn states(daemon: &Daemon<'_>) -> [(Health, bool); 2] {
    [state(daemon, "a").await, state(daemon, "b").await]
}

pub(crate) const DOWN: (Health, bool) = (Health::Unhealthy, false);
pub(crate) const UP: (Health, bool) = (Health::Healthy, true);

/// A host with the file of [`web`] where only `b` answers probes.
pub(crate) fn host_without_a() -> Host {
    let host = Host::new(&web());
    host.network.only(&[B]);
    host
}

/// Waits for the results of probes, then overrides the weight of `b` with 7.
pub(crate) async fn override_weight_of_b(daemon: &Daemon<'_>) {
    sleep(A_WHILE).await;
    daemon.set("web/b", OverrideChange::Weight(Some(7))).await.unwrap();
}

/// Runs a daemon with `a` down and `b` up, reloads another file, and then runs `story`.
pub(crate) async fn after_reload(file: &str, story: impl AsyncFnOnce(&Daemon)) {
    host_without_a()
        .run(async |daemon| {
            sleep(A_WHILE).await;
            assert_eq!(states(daemon).await, [DOWN, UP]);
            let reply = daemon.reload_with(file).await;
            assert!(reply.ok, "{reply:?}");
            story(daemon).await;
        })
        .await;
}
