//! Overrides by operators.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_api::{
    ALL_BACKENDS, Admin, BackendPath, ErrorReply, OverrideChange, OverrideReply, OverrideRequest,
    OverridesRequest, Timestamp,
};
use sluice_config::SourceFile;
use sluice_core::flows::Target;
use sluice_core::model::{EffectiveServices, MAX_WEIGHT, Ports};
use sluice_nft::Errno;
use sluiced::request::{OverrideError, Request};
use tokio::time::{Instant, sleep};

use crate::host::{Daemon, FORWARD4, FORWARD6, Host};
use crate::{WEB, WEB3};

const ENOMEM: Errno = Errno(12);

async fn say(
    daemon: &Daemon<'_>,
    backend: &str,
    change: OverrideChange,
) -> Result<OverrideReply, OverrideError> {
    say_as(daemon, 1000, backend, change).await
}

async fn say_as(
    daemon: &Daemon<'_>,
    uid: u32,
    backend: &str,
    change: OverrideChange,
) -> Result<OverrideReply, OverrideError> {
    let request = OverrideRequest { service: "web".into(), backend: backend.into(), change, reason: None };
    let reply = daemon.ask(|answer| Request::Override(request.into(), uid, answer)).await;
    reply.map(|reply| reply.each().next().unwrap())
}

#[tokio::test(start_paused = true)]
async fn override_tells_who_changed_it_last_and_when() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let drain = OverrideChange::Admin(Admin::Drain);
        let first = say_as(daemon, 1000, "10.0.2.11:8080", drain).await.unwrap().backend.overridden.unwrap();
        assert_eq!(first.uid, 1000);
        // Times are told to the millisecond.
        while Timestamp::now() < first.since + Duration::from_millis(1) {
            std::thread::yield_now();
        }
        let weight = OverrideChange::Weight(Some(3));
        let second =
            say_as(daemon, 1001, "10.0.2.11:8080", weight).await.unwrap().backend.overridden.unwrap();
        assert_eq!((second.admin, second.weight, second.uid), (Some(Admin::Drain), Some(3), 1001));
        assert!(second.since > first.since);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn override_that_cannot_be_written_is_answered_as_such_until_a_refresh_writes_it() {
    let host = Host::new(&format!("{WEB}\nrefresh: 60s"));
    let (file, in_the_way) = (host.path("run/backends.json"), host.path("run/backends.json.new"));
    host.run(async |daemon| {
        assert_eq!(daemon.status().await.state.problems, [""; 0]);
        fs::create_dir(&in_the_way).unwrap();
        let drain = OverrideChange::Admin(Admin::Drain);
        let reply = say(daemon, "10.0.2.11:8080", drain).await.unwrap();
        let why = format!("write {}: Is a directory (os error 21)", file.display());
        assert_eq!((reply.backend.admin, reply.not_remembered), (Admin::Drain, Some(why.clone())));
        assert_eq!(daemon.status().await.state.problems, [why]);
        assert!(!file.exists());
        // As before: there is nothing to remember.
        say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Enabled)).await.unwrap();
        assert_eq!(daemon.status().await.state.problems, [""; 0]);
        say(daemon, "10.0.2.11:8080", drain).await.unwrap();

        fs::remove_dir(&in_the_way).unwrap();
        sleep(Duration::from_secs(61)).await;
        assert_eq!(daemon.status().await.state.problems, [""; 0]);
        assert!(fs::read_to_string(&file).unwrap().contains("\"drain\""));
        assert_eq!(say(daemon, "10.0.2.11:8080", drain).await.unwrap().not_remembered, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_does_not_take_is_not_answered_as_done_and_is_tried_again() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().fail_commit(0, ENOMEM);
        let refused = say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Drain)).await.unwrap_err();
        let OverrideError::Pending(reply) = refused else { panic!("{refused:?}") };
        assert!(
            reply.error.starts_with("web/10.0.2.11:8080: stored, but not in the kernel yet: "),
            "{reply:?}"
        );
        sleep(Duration::from_secs(1)).await;
        let status = daemon.status().await;
        assert!(status.table.synced);
        let drained = &status.services[0].backends[0];
        assert_eq!((drained.admin, drained.eligible, drained.share), (Admin::Drain, false, 0.0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn several_backends_change_in_one_round_or_none_does() {
    let host = Host::new(WEB3);
    host.run(async |daemon| {
        daemon.status().await;
        let drain = async |names: &[&str]| {
            let path = |name: &&str| BackendPath { service: "web".into(), backend: (*name).into() };
            let backends = names.iter().map(path).collect();
            let change = OverrideChange::Admin(Admin::Drain);
            let request = OverridesRequest { backends, change, reason: None };
            daemon.ask(|answer| Request::Override(request, 0, answer)).await
        };
        let drained = async || {
            let backends = daemon.status().await.services.remove(0).backends;
            backends.into_iter().filter(|backend| backend.admin == Admin::Drain).count()
        };
        let commits = host.commits();
        let refused = drain(&["10.0.2.11:8080", "b", "10.0.2.12:8080"]).await.unwrap_err();
        let OverrideError::Unknown(reply) = refused else { panic!("{refused:?}") };
        assert_eq!(reply.error, "service web has no backend b; no backend was changed");
        assert_eq!((drained().await, host.commits()), (0, commits));

        let reply = drain(&["10.0.2.12:8080", "10.0.2.11:8080", "10.0.2.12:8080"]).await.unwrap();
        let names: Vec<_> = reply.backends.iter().map(|it| it.status.name.as_str()).collect();
        assert_eq!(names, ["10.0.2.12:8080", "10.0.2.11:8080"]);
        // One batch picks another backend, the next removes slots that no packet uses any more.
        assert_eq!((drained().await, host.commits()), (2, commits + 2));

        assert_eq!(drain(&[ALL_BACKENDS]).await.unwrap().backends.len(), 3);
        assert_eq!(drained().await, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_that_is_not_there_is_refused() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let refused = say(daemon, "b", OverrideChange::Weight(Some(3))).await.unwrap_err();
        let OverrideError::Unknown(reply) = refused else { panic!("{refused:?}") };
        assert_eq!(reply.hint, "`sluice status` shows all services and backends");
        let refused = say(daemon, "10.0.2.11:8081", OverrideChange::Weight(Some(3))).await.unwrap_err();
        let OverrideError::Unknown(reply) = refused else { panic!("{refused:?}") };
        assert!(reply.hint.starts_with("did you mean 10.0.2.1"), "{reply:?}");
    })
    .await;
}

/// The problem that `sluice check` reports for a file.
fn problem_of(yaml: String) -> String {
    let source = SourceFile { path: "sluice.yaml".into(), text: yaml };
    let problems = sluice_config::parse(source, |_| unreachable!()).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    problem.to_string().rsplit_once("error: ").unwrap().1.to_owned()
}

/// A service whose backends shift 4,096 ports, so that each slot takes as many map elements.
fn shifting(first: u16, second: u16) -> String {
    format!(
        "services: {{web: {{listen: '203.0.113.10:4096-8191', backends: [\
         {{address: '10.0.2.11:8096-12191', name: a, weight: {first}}}, \
         {{address: '10.0.2.12:8096-12191', name: b, weight: {second}}}]}}}}"
    )
}

/// A service with 257 backends: the first, and others.
fn crowded(first: u16, others: u16) -> String {
    let other = |n: u16| format!(", {{address: '10.0.3.{n}:80', weight: {others}}}");
    let others: String = (0..256).map(other).collect();
    format!(
        "services: {{web: {{listen: '203.0.113.10:80', backends: [\
         {{address: '10.0.2.11:80', name: a, weight: {first}}}{others}]}}}}"
    )
}

#[tokio::test(start_paused = true)]
async fn weight_that_a_file_may_not_have_is_refused_with_the_same_words_and_nothing_changes() {
    for (good, weight, bad) in
        [(crowded(256, 256), 255, crowded(255, 256)), (shifting(1, 1), 256, shifting(256, 1))]
    {
        let host = Host::new(&good);
        host.run(async |daemon| {
            let (before, commits) = (daemon.status().await.services, host.commits());
            let refused = say(daemon, "a", OverrideChange::Weight(Some(weight))).await.unwrap_err();
            let OverrideError::Excessive(ErrorReply { error, hint }) = refused else { panic!("{refused:?}") };
            assert_eq!(format!("{error} ({hint})"), format!("service web: {}", problem_of(bad)));
            assert_eq!((daemon.status().await.services, host.commits()), (before, commits));
            say(daemon, "a", OverrideChange::Weight(Some(0))).await.unwrap();
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn weights_that_exceed_the_bounds_since_a_reload_can_be_changed_and_reset() {
    let host = Host::new(&crowded(1, 255));
    host.run(async |daemon| {
        let weigh = async |weight| say(daemon, "a", OverrideChange::Weight(Some(weight))).await;
        weigh(255).await.unwrap();
        assert!(daemon.reload_with(&crowded(256, 256)).await.ok);
        assert_eq!(weigh(253).await.unwrap().backend.weight, 253);
        assert_eq!(say(daemon, "a", OverrideChange::Reset {}).await.unwrap().backend.weight, 256);
        weigh(253).await.unwrap_err();
        assert!(daemon.status().await.table.synced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn flows_of_a_disabled_backend_are_looked_at_and_it_is_told_that_it_is_back() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.forgotten.1.try_iter().for_each(drop);
        say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Drain)).await.unwrap();
        assert!(host.forgotten.1.try_iter().next().is_none(), "a drain concerns no flow");
        say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Disabled)).await.unwrap();
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        let selectors: Vec<_> = order.affected.soon.selectors.iter().map(|look| look.target).collect();
        let ports = Ports::single(8080);
        assert_eq!(selectors, [Target::Backend { address: "10.0.2.11".parse().unwrap(), ports }]);
        assert!(order.affected.later.is_empty());
        say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Enabled)).await.unwrap();
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        assert!(order.affected.soon.is_empty() && order.affected.later.is_empty(), "{order:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn flows_are_looked_at_once_the_kernel_has_what_they_are_judged_by() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.forgotten.1.try_iter().for_each(drop);
        host.kernel().fail_commit(0, ENOMEM);
        say(daemon, "10.0.2.11:8080", OverrideChange::Admin(Admin::Disabled)).await.unwrap_err();
        assert!(host.forgotten.1.try_iter().next().is_none(), "the kernel still sends there");
        sleep(Duration::from_secs(1)).await;
        assert!(daemon.status().await.table.synced);
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        assert_eq!(order.affected.soon.selectors.len(), 1, "{order:?}");
        let services = EffectiveServices::from(&*order.services);
        let (_, web) = services.iter().next().unwrap();
        assert_eq!(web.disabled.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["10.0.2.11:8080"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn remembered_weight_that_is_too_large_is_the_largest() {
    let host = Host::new(WEB);
    let file = host.path("run/backends.json");
    host.run(async |daemon| {
        drop(say(daemon, "10.0.2.11:8080", OverrideChange::Weight(Some(7))).await.unwrap())
    })
    .await;
    let (before, written) = (fs::read_to_string(&file).unwrap(), "\"weight\": 7");
    assert!(before.contains(written), "{before}");
    fs::write(&file, before.replace(written, "\"weight\": 60000")).unwrap();
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert_eq!(status.services[0].backends[0].weight, MAX_WEIGHT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn disk_that_takes_no_write_delays_no_change_and_is_told_of() {
    let host = Host::new(WEB);
    host.disk_hangs.store(true, Ordering::Relaxed);
    let run = host.run_and_crash(async |daemon| {
        daemon.status().await;
        let began = Instant::now();
        let drain = OverrideChange::Admin(Admin::Drain);
        let answer = say(daemon, "10.0.2.11:8080", drain);
        let look = async {
            while daemon.status().await.services[0].backends[0].admin != Admin::Drain {
                sleep(Duration::from_millis(10)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(1), "the drain is in force before it is saved");
            // It needs another sysctl, whose record cannot be written either.
            let six = "six: {listen: '[2001:db8::10]:80', backends: ['[fd00::11]:8080']}";
            assert!(
                daemon.reload_with(&WEB.replace("services: {", &format!("services: {{{six}, "))).await.ok
            );
            assert_eq!((host.sysctl(FORWARD4), host.sysctl(FORWARD6)), ("1".into(), "1".into()));
            assert!(began.elapsed() < Duration::from_secs(1), "its change does not wait again");
        };
        let (reply, ()) = tokio::join!(answer, look);
        let why = reply.unwrap().not_remembered.unwrap();
        assert_eq!(why, "the write to the state directory is pending for 5 s");
        let problems = daemon.status().await.state.problems;
        assert_eq!(problems, ["a write to the state directory is pending for 5 s"]);
    });
    run.await;
}
