//! Services gain and lose their quorums as health, operators and reloads say, and keep the decision over restarts.

use sluice_api::{Admin, EventKind, OverrideChange};
use tokio::time::sleep;

use crate::host::{Daemon, Host};
use crate::web::{A, A_WHILE, B, checked};

const C: &str = "10.0.2.13:80";

/// Three backends; the quorum is gained with three and lost below two.
fn web(quorum: &str) -> String {
    let backends = "[{name: a, address: '10.0.2.11:80'}, {name: b, address: '10.0.2.12:80'},
      {name: c, address: '10.0.2.13:80'}]";
    checked("", &format!("{backends}, quorum: {quorum}"))
}

const HYSTERESIS: &str = "{up: 3, down: 2}";

/// Why the only service is not ready; empty if it is.
async fn why(daemon: &Daemon<'_>) -> String {
    let service = daemon.status().await.services.into_iter().next().unwrap();
    assert_eq!(
        (service.ready, service.quorum.met),
        (service.not_ready.is_none(), service.not_ready.is_none())
    );
    service.not_ready.unwrap_or_default()
}

fn lost(eligible: usize) -> String {
    format!("quorum lost: {eligible} of 3 backends eligible, needs 3")
}

async fn after_probes(host: &Host, daemon: &Daemon<'_>, up: &[&str]) -> String {
    host.network.only(up);
    sleep(A_WHILE).await;
    why(daemon).await
}

#[tokio::test(start_paused = true)]
async fn service_stays_ready_until_it_falls_below_and_not_ready_until_it_reaches_its_quorum() {
    let host = Host::new(&web(HYSTERESIS));
    host.network.only(&[A, B, C]);
    host.run(async |daemon| {
        assert_eq!(after_probes(&host, daemon, &[A, B, C]).await, "");
        assert_eq!(after_probes(&host, daemon, &[A, B]).await, "");
        assert_eq!(after_probes(&host, daemon, &[A]).await, lost(1));
        assert_eq!(after_probes(&host, daemon, &[A, B]).await, lost(2));
        assert_eq!(after_probes(&host, daemon, &[A, B, C]).await, "");
        let drain = OverrideChange::Admin(Admin::Drain);
        daemon.set("web/a", drain).await.unwrap();
        assert_eq!(why(daemon).await, "");
        daemon.set("web/b", OverrideChange::Weight(Some(0))).await.unwrap();
        assert_eq!(why(daemon).await, lost(1));
        let events = daemon.status().await.events;
        let told = events.iter().filter(|it| it.kind == EventKind::Readiness).map(|it| it.text.as_str());
        assert_eq!(told.collect::<Vec<_>>(), [&*lost(1), "quorum met", &*lost(1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn decision_between_the_bounds_is_kept_over_reloads_and_restarts() {
    let host = Host::new(&web(HYSTERESIS));
    host.network.only(&[A, B, C]);
    host.run_and_crash(async |daemon| {
        assert_eq!(after_probes(&host, daemon, &[A, B]).await, "");
        let reply = daemon.reload_with(&web("{up: 3, down: 1}")).await;
        assert!(reply.ok, "{reply:?}");
        assert_eq!(why(daemon).await, "");
    })
    .await;
    host.run_and_crash(async |daemon| {
        assert_eq!(why(daemon).await, "", "after a restart");
        let renamed = web("{up: 3, down: 1}").replace("web:", "new:");
        assert!(daemon.reload_with(&renamed).await.ok);
        assert_eq!(why(daemon).await, "", "after a change of its name");
        assert!(daemon.reload_with(&web("3")).await.ok);
        assert_eq!(why(daemon).await, lost(2));
        assert!(daemon.reload_with(&web(HYSTERESIS)).await.ok);
        assert_eq!(why(daemon).await, lost(2));
    })
    .await;
    host.run(async |daemon| {
        assert_eq!(why(daemon).await, lost(2), "after another restart");
        assert!(daemon.reload_with(&web("2")).await.ok);
        assert_eq!(why(daemon).await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn service_without_a_decision_from_before_needs_its_whole_quorum() {
    let host = Host::new(&web(HYSTERESIS).replace("tcp: {}", "tcp: {}, initial: down"));
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        assert_eq!(why(daemon).await, lost(0));
        assert_eq!(after_probes(&host, daemon, &[A, B]).await, lost(2));
    })
    .await;
}
