//! Concurrent changes of the ruleset by another program.

use sluice_nft::Errno;

use crate::host::Host;
use crate::{WEB, WEB3};

const ENOBUFS: Errno = Errno(105);

#[tokio::test(start_paused = true)]
async fn commit_that_fails_for_the_moment_is_planned_again_at_once() {
    for errno in [Errno::ERESTART, Errno::EBUSY, Errno::EINTR, ENOBUFS] {
        let host = Host::new(WEB);
        host.run(async |daemon| {
            daemon.status().await;
            for n in 0..3 {
                host.kernel().fail_commit(n, errno);
            }
            let reply = daemon.reload_with(WEB3).await;
            assert!(reply.ok, "{errno}: {reply:?}");
            assert!(daemon.reload().await.summary.starts_with("nothing changed"));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn read_that_fails_for_the_moment_is_tried_again_at_once() {
    for errno in [Errno::EINTR, ENOBUFS] {
        let host = Host::new(WEB);
        host.run(async |daemon| {
            daemon.status().await;
            host.kernel().edit(|table| *table = None);
            host.kernel().fail_reads(3, errno);
            let reply = daemon.reload_with(WEB3).await;
            assert!(reply.ok, "{errno}: {reply:?}");
            assert!(host.kernel().table().is_some());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn commit_that_is_always_stale_gives_up_and_is_retried_later() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        // Eight rounds, in each of which the commit is sent eight times.
        for n in 0..64 {
            host.kernel().fail_commit(n, Errno::ERESTART);
        }
        let reply = daemon.reload_with(WEB3).await;
        assert!(!reply.ok && reply.problems[0].contains("should be restarted"), "{reply:?}");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(daemon.status().await.table.synced);
        assert!(daemon.reload_with(WEB3).await.ok);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn foreign_edit_between_two_commits_of_a_plan_is_put_right() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let commits = host.commits();
        let wait_and_edit = async {
            // The plan has a second commit, 100 ms after the first.
            while host.commits() == commits {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            host.kernel().edit(|table| {
                let services = table.as_mut().unwrap().sets.get_mut(&"services4".into()).unwrap();
                services.elements.clear();
            });
        };
        let (reply, ()) = tokio::join!(daemon.reload_with(WEB3), wait_and_edit);
        assert!(reply.ok, "{reply:?}");
        assert!(host.commits() > commits + 1);
        assert!(!host.kernel().table().unwrap().sets[&"services4".into()].elements.is_empty());
        assert!(daemon.reload().await.summary.starts_with("nothing changed"));
    })
    .await;
}
