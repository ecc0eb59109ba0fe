//! In a steady state, the daemon reads nothing that it knows.

use std::time::Duration;

use crate::host::Host;
use crate::{WEB, WEB3};

#[tokio::test(start_paused = true)]
async fn reload_reads_no_table_and_a_change_reads_back_its_part() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        let before = host.kernel().reads();
        assert!(daemon.reload().await.ok);
        assert_eq!(host.kernel().reads(), before);
        assert!(daemon.reload_with(&format!("{WEB3}\nrefresh: 0")).await.ok);
        let after = host.kernel().reads();
        assert_eq!((after.whole, after.parts), (before.whole, before.parts + 1));
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(host.kernel().reads(), after);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refresh_that_finds_no_change_reads_once_and_commits_nothing() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s"));
    host.run(async |daemon| {
        daemon.status().await;
        let reads = host.kernel().reads().whole;
        let commits = host.commits();
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(host.kernel().reads().whole, reads + 10);
        assert_eq!(host.commits(), commits);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn commits_to_other_tables_make_nobody_read_ours() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        let reads = host.kernel().reads().whole;
        for yaml in [WEB3, WEB] {
            host.kernel().edit_elsewhere();
            assert!(daemon.reload_with(&format!("{yaml}\nrefresh: 0")).await.ok);
        }
        assert_eq!(host.kernel().reads().whole, reads);
    })
    .await;
}
