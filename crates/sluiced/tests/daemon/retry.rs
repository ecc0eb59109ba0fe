//! Refreshes and retries.

use std::sync::mpsc::channel;
use std::time::Duration;

use sluice_api::{BackendStatus, EventKind, OverrideChange, Timestamp};
use sluice_netlink::Event;
use sluice_nft::Errno;
use sluiced::request::{OverrideError, Request};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use crate::WEB;
use crate::host::{Daemon, FORWARD4, Host};

const ENOMEM: Errno = Errno(12);

#[tokio::test(start_paused = true)]
async fn refresh_repairs_what_somebody_removed() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s"));
    host.run(async |daemon| {
        daemon.status().await;
        let before = host.kernel().table().cloned();
        host.kernel().edit(|table| *table = None);
        host.proc().set_sysctl(FORWARD4, "0").unwrap();
        assert!(!daemon.status().await.table.present);
        sleep(Duration::from_secs(61)).await;
        assert_eq!(host.kernel().table(), before.as_ref());
        assert_eq!(host.sysctl(FORWARD4), "1");
        let status = daemon.status().await;
        assert!(status.table.synced);
        assert_eq!(status.table.rounds, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refresh_switched_off_never_happens() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        sleep(Duration::from_secs(86_400)).await;
        assert_eq!(daemon.status().await.table.rounds, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retries_wait_longer_each_time_up_to_a_limit_until_one_succeeds() {
    let host = Host::new(&format!("{WEB}\nrefresh: 1h"));
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
        const FAILURES: usize = 10;
        for n in 0..FAILURES {
            host.kernel().fail_commit(n, ENOMEM);
        }
        daemon.requests.send(Request::Foreign(Event::Lost)).await.unwrap();
        let began = Instant::now();
        let status = daemon.status().await;
        let error = status.table.error.unwrap();
        assert!(error.starts_with("commit a batch: Cannot allocate memory"), "{error}");

        while !daemon.status().await.table.synced {
            sleep(Duration::from_millis(500)).await;
        }
        // 0.2, 0.4, ... 25.6, then 30: that is 51 s for eight and 81, 111 for the others.
        let waited = began.elapsed();
        assert!((111..112).contains(&waited.as_secs()), "{waited:?}");
        assert_eq!(daemon.status().await.table.rounds, 2 + FAILURES as u64);
        assert!(host.kernel().table().is_some());
    })
    .await;
}

/// Has an operator change a weight.
async fn weigh(daemon: &Daemon<'_>, weight: u16) -> Result<BackendStatus, OverrideError> {
    daemon.set("web/10.0.2.11:8080", OverrideChange::Weight(Some(weight))).await
}

#[tokio::test(start_paused = true)]
async fn refresh_happens_while_other_events_keep_the_daemon_busy() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s"));
    host.run(async |daemon| {
        daemon.status().await;
        host.proc().set_sysctl(FORWARD4, "0").unwrap();
        let reads = host.kernel().reads().whole;
        for n in 0..61 {
            weigh(daemon, 1 + n % 2).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!((host.sysctl(FORWARD4).as_str(), host.kernel().reads().whole), ("1", reads + 1));
        // One that reads the kernel for another reason counts as one.
        sleep(Duration::from_secs(30)).await;
        daemon.requests.send(Request::Foreign(Event::Lost)).await.unwrap();
        sleep(Duration::from_secs(59)).await;
        assert_eq!(host.kernel().reads().whole, reads + 2);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(host.kernel().reads().whole, reads + 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_that_fail_do_not_put_off_the_retry() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        host.spoil(Some(|table| table.sets.clear()));
        // Retries after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 seconds: none of these events makes them fewer or more.
        for n in 0..100 {
            assert!(matches!(weigh(daemon, 2 + n % 2).await, Err(OverrideError::Pending(_))));
            sleep(Duration::from_millis(100)).await;
        }
        host.spoil(None);
        let since = Instant::now();
        while !daemon.status().await.table.synced {
            sleep(Duration::from_millis(100)).await;
            assert!(since.elapsed() < Duration::from_secs(13), "as if each event had been a retry");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rounds_that_fail_are_told_once_with_the_time_of_the_next_and_so_is_the_first_that_succeeds() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s"));
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
        (0..5).for_each(|n| host.kernel().fail_commit(n, ENOMEM));
        let before = Timestamp::now();
        daemon.requests.send(Request::Foreign(Event::Lost)).await.unwrap();
        let status = daemon.status().await;
        let (retry_at, web) = (status.table.retry_at.unwrap(), &status.services[0]);
        let why = "not in sync: commit a batch: Cannot allocate memory (os error 12)";
        assert_eq!((web.ready, web.not_ready.as_deref()), (false, Some(why)));
        assert!(retry_at > before + Duration::from_millis(199), "{retry_at} is not 200 ms after {before}");
        sleep(Duration::from_secs(200)).await;
        let status = daemon.status().await;
        assert_eq!((status.table.synced, status.table.retry_at), (true, None));
        assert_eq!((status.services[0].ready, &status.services[0].not_ready), (true, &None));
        let told = status.events.iter().filter(|it| it.kind == EventKind::Sync).map(|it| it.text.as_str());
        let failed =
            "not in sync: commit a batch: Cannot allocate memory (os error 12) (nothing was changed)";
        assert_eq!(told.collect::<Vec<_>>(), [failed, "in sync again"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn forwarding_that_cannot_be_switched_on_is_not_in_sync_whatever_rounds_come_to() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s\nforwarding: require"));
    host.proc().set_sysctl(FORWARD4, "1").unwrap();
    host.run(async |daemon| {
        daemon.status().await;
        host.proc().set_sysctl(FORWARD4, "0").unwrap();
        sleep(Duration::from_secs(61)).await;
        let table = daemon.status().await.table;
        let error = table.error.unwrap();
        assert!(!table.synced && table.retry_at.is_some());
        assert!(error.contains("sysctl net.ipv4.ip_forward is 0"), "{error}");
        weigh(daemon, 2).await.unwrap();
        let told = host.notified();
        assert!(told.last().unwrap().contains("not in sync: forwarding"), "{told:?}");
        assert!(!daemon.status().await.table.synced, "a round that succeeds does not hide it");
        let told =
            daemon.status().await.events.iter().filter(|it| it.text.starts_with("not in sync")).count();
        assert_eq!(told, 1, "once");

        host.proc().set_sysctl(FORWARD4, "1").unwrap();
        sleep(Duration::from_secs(31)).await;
        let status = daemon.status().await;
        assert!(status.table.synced, "{:?}", status.table);
        assert_eq!(status.events.last().unwrap().text, "forwarding is enabled again");
        daemon.requests.send(Request::Forwarding).await.unwrap();
        let events = daemon.status().await.events;
        assert_eq!(
            events.iter().filter(|it| it.text == "forwarding is enabled again").count(),
            1,
            "{events:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn state_that_could_not_be_saved_is_saved_later() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    let in_the_way = host.path("run/backends.json.new");
    host.run_and_crash(async |daemon| {
        daemon.status().await;
        std::fs::create_dir(&in_the_way).unwrap();
        weigh(daemon, 7).await.unwrap();
        sleep(Duration::from_secs(300)).await;
        std::fs::remove_dir(&in_the_way).unwrap();
        sleep(Duration::from_secs(31)).await;
    })
    .await;
    host.run(async |daemon| assert_eq!(daemon.status().await.services[0].backends[0].weight, 7)).await;
}

#[tokio::test(start_paused = true)]
async fn watchdog_is_told_twice_as_often_as_it_asks() {
    let mut host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.watchdog = Some(Duration::from_secs(30));
    host.run(async |daemon| {
        daemon.status().await;
        host.notified();
        sleep(Duration::from_secs(61)).await;
        daemon.status().await;
        assert_eq!(host.notified(), ["WATCHDOG=1"; 4]);
    })
    .await;
}

#[test]
fn watchdog_is_not_told_while_the_worker_threads_hang() {
    let mut host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.watchdog = Some(Duration::from_millis(20));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let until_told = async || {
        while host.notified().iter().all(|state| state != "WATCHDOG=1") {
            sleep(Duration::from_millis(1)).await;
        }
    };
    runtime.block_on(host.run(async |daemon| {
        until_told().await;
        let ((hangs, hung), (release, released)) = (channel(), channel::<()>());
        tokio::spawn(async move {
            hangs.send(()).unwrap();
            let _ = released.recv();
        });
        hung.recv().unwrap();
        // One beat may be under way.
        for _ in 0..2 {
            daemon.answers().await;
        }
        host.notified();
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(20));
            daemon.answers().await;
        }
        assert_eq!(host.notified(), [""; 0]);
        drop(release);
        until_told().await;
    }));
}
