//! Totals of new connections are exact across changes and deletions of the elements that count them.

use std::time::Duration;

use sluice_nft::Protocol;
use sluice_nft::trace::{Outcome, Packet};
use tokio::time::sleep;

use crate::host::{Daemon, Host};
use crate::{WEB, WEB3};

/// Opens connections to the service.
fn connect(host: &Host, count: usize) {
    for n in 0..count {
        let source = format!("198.51.100.7:{}", 10_000 + n).parse().unwrap();
        let trace =
            host.kernel().send(&Packet::arriving(Protocol::Tcp, source, "203.0.113.10:80".parse().unwrap()));
        assert!(matches!(trace.outcome, Outcome::Translated { .. }), "{trace:?}");
    }
}

async fn totals(daemon: &Daemon<'_>) -> Vec<u64> {
    let status = daemon.status().await;
    status.services[0].backends.iter().map(|backend| backend.connections_total).collect()
}

#[tokio::test(start_paused = true)]
async fn totals_go_on_when_the_number_of_slots_changes() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        assert_eq!(totals(daemon).await, [0, 0]);
        connect(&host, 10);
        assert_eq!(totals(daemon).await, [5, 5]);
        assert!(daemon.reload_with(WEB3).await.ok);
        assert_eq!(totals(daemon).await, [5, 5, 0]);
        connect(&host, 30);
        assert_eq!(totals(daemon).await, [15, 15, 10]);
        assert!(daemon.reload_with(WEB).await.ok);
        connect(&host, 2);
        assert_eq!(totals(daemon).await, [16, 16]);
        // The third one comes back, and its count with it.
        assert!(daemon.reload_with(WEB3).await.ok);
        assert_eq!(totals(daemon).await, [16, 16, 10]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_stay_with_their_backend_when_slots_are_pointed_elsewhere() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        let moved = WEB.replace("10.0.2.12:8080", "10.0.2.99:8080");
        assert!(daemon.reload_with(&moved).await.ok);
        assert_eq!(totals(daemon).await, [5, 0]);
        connect(&host, 4);
        assert_eq!(totals(daemon).await, [7, 2]);
        assert!(daemon.reload_with(WEB).await.ok);
        assert_eq!(totals(daemon).await, [7, 5]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_do_not_go_backwards_when_somebody_flushes_the_table() {
    let host = Host::new(&format!("{WEB}\nrefresh: 10s"));
    host.run(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        assert_eq!(totals(daemon).await, [5, 5]);
        host.kernel().edit(|table| *table = None);
        assert_eq!(totals(daemon).await, [5, 5]);
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        connect(&host, 2);
        assert_eq!(totals(daemon).await, [6, 6]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_go_on_after_a_stop_that_removes_the_table() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        assert_eq!(totals(daemon).await, [5, 5]);
        // Nobody looks at these before the stop.
        connect(&host, 4);
    })
    .await;
    assert_eq!(host.kernel().table(), None);
    host.run(async |daemon| {
        assert_eq!(totals(daemon).await, [7, 7]);
        connect(&host, 2);
        assert_eq!(totals(daemon).await, [8, 8]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_go_on_after_a_stop_or_a_crash_that_leaves_the_table() {
    let host = Host::new(&format!("{WEB}\non_stop: keep"));
    let story = async |daemon: &Daemon<'_>, expected: [u64; 2]| {
        assert_eq!(totals(daemon).await, expected);
        connect(&host, 10);
    };
    host.run(async |daemon| story(daemon, [0, 0]).await).await;
    connect(&host, 2);
    host.run_and_crash(async |daemon| story(daemon, [6, 6]).await).await;
    connect(&host, 2);
    host.run_and_crash(async |daemon| story(daemon, [12, 12]).await).await;
    host.run(async |daemon| story(daemon, [17, 17]).await).await;
}

#[tokio::test(start_paused = true)]
async fn totals_of_elements_that_are_gone_outlive_a_crash() {
    let host = Host::new(WEB);
    host.run_and_crash(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        assert_eq!(totals(daemon).await, [5, 5]);
        assert!(daemon.reload_with(WEB3).await.ok);
        // A moment, in which they are saved.
        sleep(Duration::from_millis(1)).await;
        connect(&host, 3);
    })
    .await;
    host.run_and_crash(async |daemon| {
        assert_eq!(totals(daemon).await, [6, 6, 1]);
        assert!(daemon.reload_with(WEB).await.ok);
        assert_eq!(totals(daemon).await, [6, 6]);
    })
    .await;
    // The third one is not in the file, and nobody remembers it any more.
    host.run(async |daemon| {
        assert_eq!(totals(daemon).await, [6, 6]);
        assert!(daemon.reload_with(WEB3).await.ok);
        assert_eq!(totals(daemon).await, [6, 6, 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_do_not_go_backwards_when_the_daemon_ends_in_the_middle_of_a_change() {
    let host = Host::new(WEB);
    let ended = async |yaml: &str, commits: usize, before: [u64; 2]| {
        host.run_and_crash(async |daemon| {
            daemon.status().await;
            connect(&host, 10);
            let seen = totals(daemon).await;
            assert_eq!(seen, before.map(|count| count + 5));
            host.configure(yaml);
            let due = host.commits() + commits;
            let changed = async {
                while host.commits() < due {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await
                }
            };
            tokio::select! { _ = daemon.reload() => {}, () = changed => {} }
        })
        .await;
    };
    ended(WEB3, 1, [0, 0]).await;
    host.configure(WEB);
    ended(WEB3, 2, [5, 5]).await;
    host.configure(WEB);
    host.run(async |daemon| assert_eq!(totals(daemon).await, [10, 10])).await;
}

#[tokio::test(start_paused = true)]
async fn totals_do_not_go_backwards_when_the_table_is_lost_while_nobody_is_there() {
    let host = Host::new(&format!("{WEB}\nrefresh: 10s"));
    host.run_and_crash(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        assert_eq!(totals(daemon).await, [5, 5]);
    })
    .await;
    host.kernel().edit(|table| *table = None);
    host.run(async |daemon| {
        assert_eq!(totals(daemon).await, [5, 5]);
        connect(&host, 2);
        assert_eq!(totals(daemon).await, [6, 6]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_after_a_crash_follow_a_file_that_is_another_by_then() {
    let host = Host::new(WEB);
    host.run_and_crash(async |daemon| {
        daemon.status().await;
        connect(&host, 10);
        assert!(daemon.reload_with(WEB3).await.ok);
        connect(&host, 30);
        assert!(daemon.reload_with(WEB).await.ok);
        connect(&host, 10);
        assert_eq!(totals(daemon).await, [20, 20]);
    })
    .await;
    // Another backend has the place of the second, in some of the elements that stay.
    host.configure(&WEB.replace("10.0.2.12:8080", "10.0.2.99:8080"));
    host.run_and_crash(async |daemon| {
        assert_eq!(totals(daemon).await, [20, 0]);
        connect(&host, 2);
        assert_eq!(totals(daemon).await, [21, 1]);
    })
    .await;
}
