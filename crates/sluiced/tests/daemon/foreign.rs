//! Reactions to events about foreign changes of the table.

use sluice_netlink::{Change, Event};
use sluice_nft::Errno;
use sluiced::request::Request;

use crate::host::{Daemon, Host};
use crate::{WEB, WEB3};

/// Has the daemon hear that nft made the last commit.
async fn tell(host: &Host, daemon: &Daemon<'_>) {
    let generation = host.generation();
    let change = Change { generation, pid: 815, process: "nft".to_owned() };
    daemon.requests.send(Request::Foreign(Event::Changed(change))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn foreign_change_is_repaired_at_once_and_told_in_the_status() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert_eq!((status.table.foreign_changes.total, status.table.foreign_changes.last), (0, None));
        let before = host.kernel().table().cloned();
        host.kernel().edit(|table| *table = None);
        tell(&host, daemon).await;
        let table = daemon.status().await.table;
        assert_eq!(host.kernel().table(), before.as_ref());
        assert!(table.synced);
        assert_eq!((table.rounds, table.foreign_changes.total), (2, 1));
        let last = table.foreign_changes.last.unwrap();
        assert_eq!((last.process.as_str(), last.pid), ("nft", 815));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn foreign_change_that_a_round_has_seen_is_counted_but_takes_no_other() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
        assert!(daemon.reload_with(&format!("{WEB3}\nrefresh: 0")).await.ok);
        assert!(host.kernel().table().is_some());
        let rounds = daemon.status().await.table.rounds;
        daemon
            .requests
            .send(Request::Foreign(Event::Changed(Change { generation: 2, pid: 1, process: "nft".into() })))
            .await
            .unwrap();
        let table = daemon.status().await.table;
        assert_eq!((table.rounds, table.foreign_changes.total), (rounds, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lost_events_lead_to_a_full_look() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
        daemon.requests.send(Request::Foreign(Event::Lost)).await.unwrap();
        let table = daemon.status().await.table;
        assert!(table.present && table.synced);
        assert_eq!(table.foreign_changes.total, 0, "nobody knows how many there were");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn foreign_change_that_could_not_be_read_is_not_forgotten_by_a_reload() {
    let yaml = format!("{WEB}\nrefresh: 0");
    let host = Host::new(&yaml);
    host.run(async |daemon| {
        daemon.status().await;
        let before = host.kernel().table().cloned();
        host.kernel().edit(|table| *table = None);
        host.kernel().fail_reads(1, Errno(12));
        daemon.requests.send(Request::Foreign(Event::Lost)).await.unwrap();
        assert!(daemon.reload().await.ok);
        assert_eq!(host.kernel().table(), before.as_ref());
    })
    .await;
}
