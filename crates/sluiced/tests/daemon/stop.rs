//! The state after a stop and after a hand-over.

use std::fs;

use sluice_nft::Errno;
use sluiced::request::Request;

use crate::WEB;
use crate::host::{FORWARD4, Host};

#[tokio::test(start_paused = true)]
async fn stop_removes_table_and_socket_and_puts_forwarding_back() {
    let host = Host::new(WEB);
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert_eq!(host.kernel().table(), None);
    assert_eq!(host.sysctl(FORWARD4), "0");
    assert!(!host.socket().exists());
    assert_eq!(host.notified().last().unwrap(), "STOPPING=1");
}

#[tokio::test(start_paused = true)]
async fn stop_leaves_forwarding_on_that_was_on_before() {
    let host = Host::new(WEB);
    host.proc().set_sysctl(FORWARD4, "1").unwrap();
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert_eq!(host.sysctl(FORWARD4), "1");
}

#[tokio::test(start_paused = true)]
async fn stop_with_keep_leaves_all_and_a_later_stop_still_puts_forwarding_back() {
    let host = Host::new(&format!("{WEB}\non_stop: keep"));
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert!(host.kernel().table().is_some());
    assert_eq!(host.sysctl(FORWARD4), "1");
    assert!(!host.socket().exists());

    host.configure(WEB);
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert_eq!(host.kernel().table(), None);
    assert_eq!(host.sysctl(FORWARD4), "0");
}

#[tokio::test(start_paused = true)]
async fn daemon_that_hands_over_leaves_all_to_the_next_one_whatever_the_file_says() {
    let host = Host::new(WEB);
    host.run_until(Request::HandOver, async |daemon| drop(daemon.status().await)).await.unwrap();
    assert!(host.kernel().table().is_some());
    assert_eq!(host.sysctl(FORWARD4), "1");
    assert!(!host.socket().exists());
    assert_eq!(host.notified().last().unwrap(), "STOPPING=1");
}

#[tokio::test(start_paused = true)]
async fn stop_tries_again_where_a_round_would() {
    const ENOBUFS: Errno = Errno(105);
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        (0..3).for_each(|n| host.kernel().fail_commit(n, ENOBUFS));
    })
    .await;
    assert_eq!((host.kernel().table(), host.sysctl(FORWARD4)), (None, "0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn stop_that_cannot_remove_the_table_still_puts_forwarding_back_and_fails() {
    const ENOMEM: Errno = Errno(12);
    let host = Host::new(WEB);
    let ended = host
        .run_to_its_end(async |daemon| {
            daemon.status().await;
            host.kernel().fail_commit(0, ENOMEM);
        })
        .await;
    let told = ended.unwrap_err().to_string();
    assert!(told.starts_with("commit a batch: Cannot allocate memory"), "{told}");
    assert!(host.kernel().table().is_some());
    assert_eq!(host.sysctl(FORWARD4), "0");
}

#[tokio::test(start_paused = true)]
async fn sysctl_that_cannot_be_put_back_is_put_back_by_the_next_stop() {
    let host = Host::new(WEB);
    let file = host.path(&format!("proc/sys/{FORWARD4}"));
    host.run(async |daemon| {
        daemon.status().await;
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
    })
    .await;
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "1").unwrap();
    host.run(async |daemon| drop(daemon.status().await)).await;
    assert_eq!(host.sysctl(FORWARD4), "0");
}

#[tokio::test(start_paused = true)]
async fn stop_without_a_table_is_no_error() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
    })
    .await;
}
