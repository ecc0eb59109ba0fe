//! The status shows whether changes by other programs are noticed when they happen.

use std::hint::spin_loop;
use std::time::Duration;

use sluice_api::{EventKind, FollowerStatus, Severity, Timestamp};
use sluiced::request::{Follower, Request};

use crate::WEB;
use crate::host::{Daemon, Host};

async fn tell(daemon: &Daemon<'_>, follower: Follower, result: Result<(), String>) -> Vec<FollowerStatus> {
    daemon.requests.send(Request::Follower(follower, result)).await.unwrap();
    daemon.status().await.followers
}

/// Waits until the clock of the machine, which is not the paused one, shows a later millisecond.
fn pass(time: Timestamp) {
    while Timestamp::now() < time + Duration::from_millis(2) {
        spin_loop();
    }
}

#[tokio::test(start_paused = true)]
async fn follower_that_is_lost_is_shown_with_reason_and_time_until_it_is_back() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        assert_eq!(daemon.status().await.followers, []);
        tell(daemon, Follower::Ruleset, Ok(())).await;
        let up = tell(daemon, Follower::Addresses, Ok(())).await;
        let names: Vec<_> = up.iter().map(|it| (&*it.name, it.error.as_deref())).collect();
        assert_eq!(names, [("addresses", None), ("ruleset", None)]);
        let events = daemon.status().await.events.len();
        pass(up[0].since);

        let lost = tell(daemon, Follower::Addresses, Err("Too many open files".into())).await;
        assert_eq!(lost[0].error.as_deref(), Some("Too many open files"));
        assert!(lost[0].since > up[0].since, "{lost:?}");
        assert_eq!(lost[1], up[1]);
        pass(lost[0].since);
        // It fails in another way when it is tried again: it is lost for as long.
        let still = tell(daemon, Follower::Addresses, Err("Cannot allocate memory".into())).await;
        assert_eq!(still[0].error.as_deref(), Some("Cannot allocate memory"));
        assert_eq!(still[0].since, lost[0].since);

        let back = tell(daemon, Follower::Addresses, Ok(())).await;
        assert_eq!(back[0].error, None);
        assert!(back[0].since > lost[0].since, "{back:?}");
        let told: Vec<_> = daemon.status().await.events.split_off(events);
        let told: Vec<_> = told.iter().map(|it| (it.kind, it.severity, &*it.text)).collect();
        assert_eq!(
            told,
            [
                (
                    EventKind::Sync,
                    Severity::Warning,
                    "changes of addresses are noticed only at a refresh: Too many open files"
                ),
                (EventKind::Sync, Severity::Info, "changes of addresses are noticed again"),
            ]
        );
    })
    .await;
}
