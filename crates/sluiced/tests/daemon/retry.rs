//! What the daemon does without being asked.

use std::time::Duration;

use sluice_netlink::Event;
use sluice_nft::Errno;
use sluiced::request::Request;
use tokio::time::{Instant, sleep};

use crate::WEB;
use crate::host::{FORWARD4, Host};

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
            sleep(Duration::from_millis(50)).await;
        }
        // 0.2, 0.4, ... 25.6, then 30: that is 51 s for eight and 81, 111 for the others.
        let waited = began.elapsed();
        assert!((111..112).contains(&waited.as_secs()), "{waited:?}");
        assert_eq!(daemon.status().await.table.rounds, 2 + FAILURES as u64);
        assert!(host.kernel().table().is_some());
    })
    .await;
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
