//! Eligibility follows health, whatever a reload changes about a backend meanwhile.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_api::{Admin, Health, OverrideChange};
use sluice_core::flows::Target;
use sluice_core::model::{EffectiveServices, Ports};
use sluice_nft::Errno;
use tokio::time::{Instant, sleep};

use crate::host::{FORWARD6, Host};
use crate::web::{
    A, A_WHILE, B, DOWN, TWO, UP, after_reload, checked, host_without_a, look, of, override_weight_of_b,
    service, state, states, web,
};

const ENOMEM: Errno = Errno(12);

/// A check that takes one probe, in real time.
const QUICK: &str = "health: {tcp: {}, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}";

/// Waits in real time.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn backend_that_goes_down_and_comes_back_loses_and_gets_its_share() {
    let host = Host::new(&web());
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
        host.network.only(&[B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, UP]);
        host.network.only(&[]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, DOWN]);
        host.network.only(&[A, B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
        let events = daemon.status().await.events;
        let texts: Vec<_> = events.iter().filter(|it| it.backend.as_deref() == Some("a")).collect();
        let texts: Vec<_> = texts.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["healthy: Success", "unhealthy: Failure", "healthy: Success"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_goes_down_while_a_reload_waits_for_the_record_of_a_sysctl() {
    let web = service("web", &format!("{QUICK}, backends: {TWO}"));
    let six = "six: {listen: '[2001:db8::10]:80', backends: ['fd00::11']}";
    let both = web.replace("services: {", &format!("services: {{{six}, "));
    let host = Host::new(&web);
    host.network.only(&[A, B]);
    host.run_and_crash(async |daemon| {
        sleep(A_WHILE).await;
        host.disk_hangs.store(true, Ordering::Relaxed);
        host.network.only(&[B]);
        let before = host.commits();
        let flip = async {
            until(|| host.commits() > before).await;
            assert_eq!(host.sysctl(FORWARD6), "0", "the reload has not begun to change the kernel");
        };
        let (reload, ()) = tokio::join!(daemon.reload_with(&both), flip);
        assert!(reload.ok, "{reload:?}");
        assert_eq!(host.sysctl(FORWARD6), "1");
        let status = daemon.status().await;
        assert_eq!(status.services[1].backends[0].health, Health::Unhealthy);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_goes_down_while_a_round_waits_before_it_deletes_elements() {
    let web = service("web", &format!("{QUICK}, backends: {TWO}"));
    let gone = "gone: {listen: '203.0.113.11:80', backends: ['10.0.2.13:80']}";
    let both = web.replace("services: {", &format!("services: {{{gone}, "));
    let host = Host::new(&both);
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(A_WHILE).await;
        let probes = host.network.probes(A);
        until(|| host.network.probes(A) > probes).await;
        // The next probe, which fails, is in the middle of the 100 ms before the service's elements are deleted.
        sleep(Duration::from_millis(50)).await;
        host.network.only(&[B]);
        let before = host.commits();
        let waits = async {
            until(|| host.commits() > before).await;
            let switched = Instant::now();
            until(|| host.commits() > before + 1).await;
            switched.elapsed()
        };
        let (reload, waited) = tokio::join!(daemon.reload_with(&web), waits);
        assert!(reload.ok, "{reload:?}");
        assert!(waited < Duration::from_millis(90), "{waited:?}");
        assert_eq!(states(daemon).await, [DOWN, UP]);
    })
    .await;
}

#[tokio::test]
async fn backend_goes_down_while_a_refresh_reads_the_table() {
    let web = service("web", &format!("{QUICK}, backends: {TWO}"));
    let host = Host::new(&web.replace("refresh: 0", "refresh: 1s"));
    host.network.only(&[A, B]);
    host.run_and_crash(async |daemon| {
        host.aside().hold(true);
        until(|| host.aside().begun() > 0).await;
        let (before, whole) = (host.commits(), host.kernel().reads().whole);
        host.network.only(&[B]);
        until(|| host.commits() > before).await;
        let status = daemon.status().await;
        assert_eq!(status.services[0].backends[0].health, Health::Unhealthy);
        assert_eq!(host.kernel().reads().whole, whole, "the reconcile task read the table");
        // The read is of no use any more, so there is another one.
        let begun = host.aside().begun();
        host.aside().hold(false);
        until(|| host.aside().begun() > begun).await;
        // A refresh that finds something leads to a round.
        host.kernel().edit(|table| *table = None);
        until(|| host.kernel().table().is_some()).await;
    })
    .await;
}

#[tokio::test]
async fn backend_goes_down_while_affinity_is_read_and_answers_wait_for_that() {
    let web = service("web", &format!("affinity: 10m, {QUICK}, backends: {TWO}"));
    let host = Host::new(&web);
    host.network.only(&[A, B]);
    host.run_and_crash(async |daemon| {
        // That of the start.
        until(|| host.aside().begun() > 0).await;
        daemon.reload().await;
        let begun = host.aside().begun();
        host.aside().hold(true);
        let disable = daemon.set("web/b", OverrideChange::Admin(Admin::Disabled));
        let story = async {
            until(|| host.aside().begun() > begun).await;
            let before = host.commits();
            host.network.only(&[B]);
            until(|| host.commits() > before).await;
            assert_eq!(daemon.status().await.services[0].backends[0].health, Health::Unhealthy);
        };
        let (mut disable, mut story) = (pin!(disable), pin!(story));
        tokio::select! {
            answer = &mut disable => panic!("{answer:?} before clients have left"),
            () = &mut story => {}
        }
        host.aside().hold(false);
        assert!(disable.await.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn flows_of_a_backend_that_goes_down_are_looked_at_and_those_of_no_other() {
    let host = Host::new(&web());
    host.network.only(&[A, B]);
    host.run(async |_| {
        sleep(A_WHILE).await;
        host.forgotten.1.try_iter().for_each(drop);
        host.network.only(&[B]);
        sleep(A_WHILE).await;
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        let selectors: Vec<_> = order.affected.soon.selectors.iter().map(|look| look.target).collect();
        let ports = Ports::single(80);
        assert_eq!(selectors, [Target::Backend { address: "10.0.2.11".parse().unwrap(), ports }]);
        let services = EffectiveServices::from(&*order.services);
        let (_, web) = services.iter().next().unwrap();
        assert_eq!(web.unhealthy.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["a"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn port_of_a_check_that_was_wrong_is_corrected() {
    let host = Host::new(&checked("port: 9", TWO));
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, DOWN]);
        assert!(daemon.reload_with(&web()).await.ok);
        assert_eq!(states(daemon).await, [DOWN, DOWN], "not probed yet");
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn path_of_a_check_that_was_wrong_is_corrected() {
    let http = |path: &str| web().replace("tcp: {}", &format!("http: {{path: {path}}}"));
    let host = Host::new(&http("/healht"));
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(A_WHILE).await;
        assert_eq!(state(daemon, "a").await, DOWN);
        assert!(daemon.reload_with(&http("/healthz")).await.ok);
        assert_eq!(state(daemon, "a").await, DOWN);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn check_that_changes_leaves_all_verdicts_until_it_has_its_say() {
    for check in ["initial: down", "fall: 5", "port: 9", "rise: 1", "initial: up"] {
        after_reload(&checked(check, TWO), async |daemon| {
            assert_eq!(states(daemon).await, [DOWN, UP], "{check}");
            daemon.host.network.only(&["10.0.2.11:80", "10.0.2.11:9"]);
            sleep(A_WHILE).await;
            assert_eq!(states(daemon).await, [UP, DOWN], "{check}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn check_that_is_removed_and_added_again_begins_anew_while_backends_serve() {
    let unchecked = service("web", &format!("backends: {TWO}"));
    after_reload(&unchecked, async |daemon| {
        assert_eq!(state(daemon, "a").await, (Health::Unknown, true));
        assert!(daemon.reload_with(&web()).await.ok);
        assert_eq!(state(daemon, "a").await, (Health::Unknown, true));
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, UP]);
        assert!(daemon.reload_with(&unchecked).await.ok);
        assert!(daemon.reload_with(&checked("initial: down", TWO)).await.ok);
        // `initial` is for new backends, and these took new flows until now.
        assert_eq!(states(daemon).await, [(Health::Unknown, true); 2]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn service_that_was_disabled_without_a_check_begins_as_its_new_check_says() {
    let unchecked = service("web", &format!("enabled: false, backends: {TWO}"));
    let host = Host::new(&unchecked);
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        assert!(daemon.reload_with(&checked("initial: down", TWO)).await.ok);
        assert_eq!(states(daemon).await, [(Health::Unknown, false); 2]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn service_that_was_disabled_forgets_the_health_of_its_backends() {
    let disabled = web().replace("listen:", "enabled: false, listen:");
    after_reload(&disabled, async |daemon| {
        let probes = daemon.host.network.probes(A);
        sleep(A_WHILE).await;
        assert_eq!(daemon.host.network.probes(A), probes, "it is not probed");
        assert!(daemon.reload_with(&web()).await.ok);
        assert_eq!(state(daemon, "a").await, (Health::Unknown, true), "it is new");
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [DOWN, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn address_behind_a_name_that_is_replaced_is_a_new_backend() {
    let replaced = TWO.replace("10.0.2.11", "10.0.2.13");
    after_reload(&checked("", &replaced), async |daemon| {
        assert_eq!(state(daemon, "a").await, (Health::Unknown, true));
        daemon.host.network.only(&["10.0.2.13:80", B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
    after_reload(&checked("initial: down", &replaced), async |daemon| {
        assert_eq!(states(daemon).await, [(Health::Unknown, false), UP]);
        sleep(A_WHILE).await;
        assert_eq!(state(daemon, "a").await, DOWN);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn port_of_a_backend_that_changes_leaves_its_verdict_until_it_was_probed() {
    let moved = TWO.replace("11:80", "11:81");
    after_reload(&checked("", &moved), async |daemon| {
        assert_eq!(state(daemon, "a").await, DOWN);
        daemon.host.network.only(&["10.0.2.11:81", B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_that_is_added_does_not_serve_before_its_first_probe_if_the_file_says_so() {
    let three = format!("{}, {{name: c, address: '10.0.2.13:80'}}]", TWO.trim_end_matches(']'));
    let host = Host::new(&checked("initial: down", TWO));
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        assert_eq!(state(daemon, "a").await, (Health::Unknown, false));
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
        let rounds = daemon.status().await.table.rounds;
        assert!(daemon.reload_with(&checked("initial: down", &three)).await.ok);
        assert_eq!(daemon.status().await.table.rounds, rounds + 1, "nobody has to take it out again");
        assert_eq!(state(daemon, "c").await, (Health::Unknown, false));
        host.network.only(&[A, B, "10.0.2.13:80"]);
        sleep(A_WHILE).await;
        assert_eq!(state(daemon, "c").await, UP);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn weight_in_the_file_that_changes_while_a_backend_is_down_is_its_weight_when_it_is_back() {
    after_reload(&checked("", &TWO.replace("11:80'", "11:80', weight: 3")), async |daemon| {
        assert_eq!(state(daemon, "a").await, DOWN);
        daemon.host.network.only(&[A, B]);
        sleep(A_WHILE).await;
        let service = look(daemon).await;
        assert_eq!([of(&service, "a").share, of(&service, "b").share], [0.75, 0.25]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_that_the_kernel_refuses_leaves_health_overrides_and_probes_as_they_were() {
    let host = host_without_a();
    host.run(async |daemon| {
        override_weight_of_b(daemon).await;
        host.kernel().fail_commit(0, ENOMEM);
        let other = "[{name: a, address: '10.0.2.13:80'}, {name: c, address: '10.0.2.14:80'}]";
        assert!(!daemon.reload_with(&checked("port: 9", other)).await.ok);
        sleep(A_WHILE).await;
        let service = look(daemon).await;
        assert_eq!(
            [of(&service, "a").health, of(&service, "b").health],
            [Health::Unhealthy, Health::Healthy]
        );
        assert_eq!(of(&service, "b").weight, 7);
        assert_eq!(host.network.probes("10.0.2.13:9"), 0);
        host.network.only(&[A, B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn health_and_overrides_are_known_after_a_crash_also_if_the_check_changed_meanwhile() {
    let host = host_without_a();
    host.run_and_crash(async |daemon| {
        override_weight_of_b(daemon).await;
        assert_eq!(state(daemon, "a").await, DOWN);
    })
    .await;
    host.configure(&checked("port: 9", TWO));
    host.run(async |daemon| {
        let service = look(daemon).await;
        let a = of(&service, "a");
        assert_eq!(((a.health, a.eligible), of(&service, "b").weight), (DOWN, 7));
    })
    .await;
    let others = TWO.replace("2.11", "2.13").replace("2.12", "2.14").replace("name: b", "name: c");
    host.configure(&checked("", &others));
    host.run(async |daemon| {
        let service = look(daemon).await;
        assert_eq!((of(&service, "a").health, of(&service, "c").weight), (Health::Unknown, 1));
    })
    .await;
}
