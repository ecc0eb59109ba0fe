//! Slow start: backends that take new flows again begin with a small share.

use std::time::Duration;

use sluice_api::{Admin, OverrideChange};
use tokio::time::sleep;

use crate::host::{Daemon, Host};
use crate::web::look;

const A: &str = "10.0.2.11:80";
const B: &str = "10.0.2.12:80";

fn web(keys: &str, weight: u16) -> String {
    format!(
        "services: {{web: {{listen: '203.0.113.10:80', {keys} \
         health: {{tcp: {{}}, interval: 1s, timeout: 1s, rise: 1, fall: 1}}, \
         backends: [{{name: a, address: '{A}', weight: {weight}}}, {{name: b, address: '{B}'}}]}}}}\nrefresh: 0"
    )
}

fn slow() -> String {
    web("slow_start: 100s,", 1)
}

/// The share of backend `a`, which has one of two equal weights, as a number of steps of ten.
async fn step(daemon: &Daemon<'_>) -> u8 {
    let share = daemon.status().await.services[0].backends[0].share;
    (share / (1.0 - share) * 10.0).round() as u8
}

async fn set(daemon: &Daemon<'_>, change: OverrideChange) {
    daemon.set("web/a", change).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn backend_that_is_back_gets_its_share_in_ten_steps() {
    let host = Host::new(&slow());
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 10, "nobody came back");
        host.network.only(&[B]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 0);
        host.network.only(&[A, B]);
        while step(daemon).await == 0 {
            sleep(Duration::from_millis(100)).await;
        }
        for expected in 1..=10 {
            assert_eq!(step(daemon).await, expected);
            look(daemon).await;
            sleep(Duration::from_secs(10)).await;
        }
        let commits = host.commits();
        sleep(Duration::from_secs(100)).await;
        assert_eq!((step(daemon).await, host.commits()), (10, commits));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn enable_begins_a_ramp_only_of_a_backend_that_took_no_new_flows() {
    let host = Host::new(&slow());
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(Duration::from_secs(5)).await;
        let enable = OverrideChange::Admin(Admin::Enabled);
        set(daemon, enable).await;
        assert_eq!(step(daemon).await, 10);
        for admin in [Admin::Drain, Admin::Disabled] {
            set(daemon, OverrideChange::Admin(admin)).await;
            assert_eq!(step(daemon).await, 0);
            set(daemon, enable).await;
            assert_eq!(step(daemon).await, 1);
            sleep(Duration::from_millis(50_500)).await;
            assert_eq!(step(daemon).await, 6);
            set(daemon, enable).await;
            assert_eq!(step(daemon).await, 6, "it goes on");
            sleep(Duration::from_secs(60)).await;
        }
        // One that is down takes none when it is enabled.
        host.network.only(&[B]);
        set(daemon, OverrideChange::Admin(Admin::Drain)).await;
        sleep(Duration::from_secs(5)).await;
        set(daemon, enable).await;
        assert_eq!(step(daemon).await, 0);
        sleep(Duration::from_secs(60)).await;
        host.network.only(&[A, B]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 1);
        // One that is drained meanwhile begins anew.
        sleep(Duration::from_secs(50)).await;
        set(daemon, OverrideChange::Admin(Admin::Drain)).await;
        set(daemon, enable).await;
        assert_eq!(step(daemon).await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn weight_that_is_no_longer_0_begins_a_ramp_and_others_do_not() {
    let host = Host::new(&slow());
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(Duration::from_secs(5)).await;
        set(daemon, OverrideChange::Weight(Some(2))).await;
        assert_eq!(step(daemon).await, 20);
        set(daemon, OverrideChange::Weight(Some(0))).await;
        assert_eq!(step(daemon).await, 0);
        set(daemon, OverrideChange::Weight(None)).await;
        assert_eq!(step(daemon).await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_that_has_a_backend_take_new_flows_begins_a_ramp_and_one_that_does_not_goes_on_with_it() {
    let host = Host::new(&web("slow_start: 100s,", 0));
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 0);
        assert!(daemon.reload_with(&slow()).await.ok);
        assert_eq!(step(daemon).await, 1);
        sleep(Duration::from_secs(25)).await;
        assert_eq!(step(daemon).await, 3);
        assert!(daemon.reload_with(&slow().replace("name: a", "name: c")).await.ok);
        assert_eq!(step(daemon).await, 3, "under another name it is the same");
        assert!(daemon.reload_with(&slow().replace("fall: 1", "fall: 2")).await.ok);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(step(daemon).await, 4);
        assert!(daemon.reload_with(&web("slow_start: 50s,", 1)).await.ok);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(step(daemon).await, 8, "36 of 50 seconds are over");
        assert!(daemon.reload_with(&web("", 1)).await.ok);
        assert_eq!(step(daemon).await, 10);
        // New backends have nothing to come back from, and neither has a service that was disabled.
        let added = slow().replace("backends: [", "backends: [{name: d, address: '10.0.2.13:80'}, ");
        host.network.only(&[A, B, "10.0.2.13:80"]);
        assert!(daemon.reload_with(&added).await.ok);
        let shares = |status: sluice_api::Status| -> Vec<f64> {
            status.services[0].backends.iter().map(|backend| (backend.share * 30.0).round()).collect()
        };
        assert_eq!(shares(daemon.status().await), [10.0; 3]);
        assert!(daemon.reload_with(&slow().replace("listen:", "enabled: false, listen:")).await.ok);
        assert!(daemon.reload_with(&slow()).await.ok);
        assert_eq!(step(daemon).await, 10);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_that_goes_down_on_its_ramp_has_its_whole_share_where_all_have_to_serve() {
    let host = Host::new(&web("slow_start: 100s, on_empty: use-all,", 1));
    host.network.only(&[B]);
    host.run(async |daemon| {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 0);
        host.network.only(&[A, B]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 1);
        host.network.only(&[]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(step(daemon).await, 10);
    })
    .await;
}
