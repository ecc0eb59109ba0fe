//! What an orderly stop leaves.

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
async fn stop_without_a_table_is_no_error() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
    })
    .await;
}
