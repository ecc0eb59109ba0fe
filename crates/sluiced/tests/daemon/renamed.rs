//! Health and overrides follow a renamed backend, by a reload and across a restart.

use std::fs;

use sluice_api::{Admin, Health, OverrideChange};
use tokio::time::sleep;

use crate::host::Host;
use crate::web::{
    A, A_WHILE, B, DOWN, TWO, UP, after_reload, checked, host_without_a, look, of, override_weight_of_b,
    served, state, states, web,
};

#[tokio::test(start_paused = true)]
async fn backend_that_is_renamed_while_it_is_down_stays_down() {
    let renamed = TWO.replace("name: a", "name: c");
    after_reload(&checked("", &renamed), async |daemon| {
        let look = look(daemon).await;
        let c = of(&look, "c");
        assert_eq!((c.health, c.eligible), DOWN);
        assert_eq!(c.last_probe.unwrap().detail, "Failure", "what is known of it moved along");
        daemon.host.network.only(&[A, B]);
        sleep(A_WHILE).await;
        assert_eq!(state(daemon, "c").await, UP);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn service_that_is_renamed_keeps_the_verdicts_and_overrides_of_its_backends() {
    let host = host_without_a();
    host.run(async |daemon| {
        override_weight_of_b(daemon).await;
        assert!(daemon.reload_with(&web().replace("web:", "shop:")).await.ok);
        assert_eq!(states(daemon).await, [DOWN, UP]);
        assert_eq!(of(&look(daemon).await, "b").weight, 7);
        // On another listener it is another service.
        assert!(daemon.reload_with(&web().replace(".10:80", ".10:81")).await.ok);
        let status = daemon.status().await;
        assert_eq!(of(&status.services[0], "a").health, Health::Unknown);
        assert_eq!(of(&status.services[0], "b").weight, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backends_that_swap_addresses_swap_verdicts_and_keep_what_operators_said() {
    let host = host_without_a();
    host.run(async |daemon| {
        override_weight_of_b(daemon).await;
        let swapped = "[{name: a, address: '10.0.2.12:80'}, {name: b, address: '10.0.2.11:80'}]";
        assert!(daemon.reload_with(&checked("", swapped)).await.ok);
        assert_eq!(states(daemon).await, [UP, DOWN]);
        assert_eq!(of(&look(daemon).await, "b").weight, 7);
        host.network.only(&[A, B]);
        sleep(A_WHILE).await;
        assert_eq!(states(daemon).await, [UP, UP]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_that_is_renamed_while_it_is_drained_stays_so_until_it_is_gone() {
    let host = Host::new(&web());
    host.network.only(&[A, B]);
    host.run(async |daemon| {
        sleep(A_WHILE).await;
        daemon.set("web/a", OverrideChange::Admin(Admin::Drain)).await.unwrap();
        let renamed = TWO.replace("name: a", "name: c");
        assert!(daemon.reload_with(&checked("", &renamed)).await.ok);
        let c = of(&look(daemon).await, "c");
        assert_eq!((c.admin, c.health, c.eligible), (Admin::Drain, Health::Healthy, false));
        let gone = "[{name: b, address: '10.0.2.12:80'}]";
        assert!(daemon.reload_with(&checked("", gone)).await.ok);
        assert!(daemon.reload_with(&checked("", &renamed)).await.ok);
        assert_eq!(of(&look(daemon).await, "c").admin, Admin::Enabled);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backend_and_service_that_are_renamed_while_no_daemon_runs_keep_health_and_overrides() {
    let renamed = TWO.replace("name: a", "name: c").replace("name: b", "name: d");
    for (what, file) in [
        ("backends", checked("", &renamed)),
        ("service", web().replace("web:", "shop:")),
        ("both", checked("", &renamed).replace("web:", "shop:")),
    ] {
        let host = host_without_a();
        host.run_and_crash(async |daemon| {
            sleep(A_WHILE).await;
            daemon.set("web/b", OverrideChange::Admin(Admin::Drain)).await.unwrap();
            daemon.set("web/b", OverrideChange::Weight(Some(7))).await.unwrap();
            assert_eq!(state(daemon, "a").await, DOWN);
        })
        .await;
        host.configure(&file);
        // The one after it knows as much.
        for _ in 0..2 {
            host.run(async |daemon| {
                let service = look(daemon).await;
                let [a, b] = [&service.backends[0], &service.backends[1]];
                assert_eq!((a.health, a.eligible), DOWN, "{what}");
                assert_eq!((b.admin, b.weight, b.eligible), (Admin::Drain, 7, false), "{what}");
                assert!(served(&host).is_empty(), "{what}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn name_that_is_given_to_another_backend_while_no_daemon_runs_has_no_health_of_the_one_before() {
    let host = host_without_a();
    host.run(async |daemon| {
        override_weight_of_b(daemon).await;
    })
    .await;
    host.configure(&checked("", "[{name: a, address: '10.0.2.12:80'}, {name: b, address: '10.0.2.11:80'}]"));
    host.run(async |daemon| {
        let service = look(daemon).await;
        let [a, b] = [of(&service, "a"), of(&service, "b")];
        assert_eq!(([a.health, b.health], b.weight), ([Health::Unknown, Health::Unhealthy], 7));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn state_of_an_earlier_version_is_known_by_names() {
    let host = host_without_a();
    host.run(async |daemon| {
        override_weight_of_b(daemon).await;
    })
    .await;
    let file = host.path("run/backends.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(saved.as_object_mut().unwrap().remove("services").is_some(), "{text}");
    fs::write(&file, saved.to_string()).unwrap();
    fs::remove_file(host.path("run/services.json")).unwrap();
    host.run(async |daemon| {
        let service = look(daemon).await;
        let a = of(&service, "a");
        assert_eq!(((a.health, a.eligible), of(&service, "b").weight), (DOWN, 7));
    })
    .await;
}
