//! Connections are counted across everything that happens to the elements that count them.

use sluice_nft::trace::{Outcome, Packet};

use crate::host::{Daemon, Host};
use crate::{WEB, WEB3};

/// Opens connections to the service.
fn connect(host: &Host, count: usize) {
    for n in 0..count {
        let source = format!("198.51.100.7:{}", 10_000 + n).parse().unwrap();
        let trace = host.kernel().send(&Packet::arriving(6, source, "203.0.113.10:80".parse().unwrap()));
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
