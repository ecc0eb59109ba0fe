//! `sluice ready`, the quorum with its hysteresis, and hooks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sluice_testkit::{Daemon, Lab, Shares, eventually};

use crate::FOUR;

const VIP: &str = "203.0.113.10:80";
const CHECK: &str = "health: {tcp: {}, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}";

/// The service `web` with four probed backends and these keys, and a disabled one.
fn web(keys: &str) -> String {
    format!(
        "services:
  web: {{listen: {VIP}, {CHECK}, backends: {FOUR}{keys}}}
  off: {{listen: 203.0.113.10:81, enabled: false, backends: {FOUR}}}"
    )
}

/// Waits until `sluice ready` says this, with this exit code.
fn wait_for(lab: &Lab, code: i32, lines: &str) {
    eventually(&format!("{code} and {lines:?}"), || {
        let told = lab.sluice(&["ready"]);
        (told.code == Some(code) && told.stdout == lines).then_some(())
    });
}

fn lost(eligible: usize) -> String {
    format!("web: quorum lost: {eligible} of 4 backends eligible, needs 3\n")
}

/// Waits until so many backends are healthy.
fn wait_for_healthy(lab: &Lab, count: usize) {
    eventually(&format!("{count} backends are healthy"), || {
        let status = lab.sluice(&["status", "web", "--json"]).expect(0).json();
        let backends = status["services"][0]["backends"].as_array()?.clone();
        (backends.iter().filter(|it| it["health"] == "healthy").count() == count).then_some(())
    });
}

#[test]
fn service_is_ready_while_its_quorum_is_met_and_says_why_not() {
    let lab = Lab::new();
    let daemon = lab.start(&web(", quorum: {up: 3, down: 2}"));
    wait_for_healthy(&lab, 4);
    wait_for(&lab, 0, "");
    lab.backends[..2].iter().for_each(|backend| backend.silence());
    wait_for_healthy(&lab, 2);
    wait_for(&lab, 0, "");
    lab.backends[2].silence();
    wait_for(&lab, 3, &lost(1));
    assert!(lab.sluice(&["status"]).expect(0).stdout.contains(&format!("not ready: {}", &lost(1)[5..])));
    let check = lab.sluice(&["status", "--check"]).expect(3).stdout;
    assert!(check.contains("web: "), "{check}");
    lab.client.tcp(VIP).unwrap_err();
    lab.backends[2].serve(8080);
    wait_for(&lab, 3, &lost(2));
    lab.client.tcp(VIP).unwrap_err();

    // The decision is kept over a restart, in both directions.
    daemon.hand_over();
    let daemon = Daemon::start(&lab);
    wait_for(&lab, 3, &lost(2));
    lab.backends[1].serve(8080);
    wait_for(&lab, 0, "");
    lab.backends[2].silence();
    wait_for_healthy(&lab, 2);
    daemon.crash();
    let _daemon = Daemon::start(&lab);
    wait_for(&lab, 0, "");
    assert_eq!(lab.client.tcp_shares(20, VIP), Shares::from([("b2", 10), ("b4", 10)]));
}

#[test]
fn exit_code_tells_ready_from_not_ready_from_unknown_services() {
    let lab = Lab::new();
    let daemon = lab.start(&web(""));
    wait_for(&lab, 0, "");
    assert_eq!(lab.sluice(&["ready", "web"]).expect(0).stdout, "");
    assert_eq!(lab.sluice(&["ready", "web", "off"]).expect(3).stdout, "off: disabled\n");
    let unknown = lab.sluice(&["ready", "wob"]).expect(1);
    assert_eq!(unknown.stdout, "");
    assert!(unknown.stderr.contains("no service wob (did you mean web?)"), "{}", unknown.stderr);
    let json = lab.sluice(&["ready", "web", "off", "--json"]).expect(3).json();
    assert_eq!(
        json,
        serde_json::json!({"ready": false, "not_ready": null, "services": [
            {"name": "off", "ready": false, "not_ready": "disabled"},
            {"name": "web", "ready": true, "not_ready": null},
        ]})
    );
    lab.balancer.sh(&format!("kill -STOP {}", daemon.pid()));
    let hangs = lab.sluice(&["ready", "--timeout", "1s"]).expect(3);
    assert!(
        hangs.stdout.starts_with("sluiced does not respond: no response to GET /api/v1/ready within 1 s"),
        "{hangs:?}"
    );
    daemon.crash();
    let gone = lab.sluice(&["ready", "web"]).expect(3);
    assert!(
        gone.stdout.starts_with("sluiced is not running") && gone.stdout.lines().count() == 1,
        "{gone:?}"
    );
    assert_eq!(lab.sluice(&["ready", "--json"]).expect(3).json()["ready"], false);
}

#[test]
fn service_of_a_host_that_does_not_forward_is_not_ready() {
    let lab = Lab::new();
    let forward = "net/ipv4/ip_forward";
    lab.balancer.set_sysctl(forward, "1");
    let _daemon = lab.start(&format!("forwarding: require\n{}", web("")));
    wait_for(&lab, 0, "");
    lab.balancer.set_sysctl(forward, "0");
    eventually("it is not in sync", || {
        let told = lab.sluice(&["ready"]);
        (told.code == Some(3) && told.stdout.starts_with("web: not in sync: ")).then_some(())
    });
    lab.balancer.set_sysctl(forward, "1");
    wait_for(&lab, 0, "");
}

/// A hook that appends its arguments and its environment to a file, and does more.
fn hook(lab: &Lab, more: &str) -> (PathBuf, PathBuf) {
    let (path, told) = (lab.path("hook"), lab.path("told"));
    let text =
        format!("#!/bin/sh\necho \"$@ $SLUICE_SERVICE: $SLUICE_REASON\" >> {}\n{more}\n", told.display());
    fs::write(&path, text).expect("write a script");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("make it executable");
    (path, told)
}

fn hooks(lab: &Lab, more: &str) -> (String, PathBuf) {
    let (path, told) = hook(lab, more);
    (format!(", on_ready: [{0}, up], on_unready: [{0}, down]", path.display()), told)
}

/// Waits until the hooks have told this.
fn wait_for_told(told: &PathBuf, lines: &[&str]) {
    eventually(&format!("hooks tell {lines:?}"), || {
        let text = fs::read_to_string(told).unwrap_or_default();
        text.lines().eq(lines.iter().copied()).then_some(())
    });
}

#[test]
fn hooks_run_once_for_each_change_from_the_start_to_the_stop() {
    let lab = Lab::new();
    let (keys, told) = hooks(&lab, "echo done");
    let mut daemon = lab.start(&web(&keys));
    wait_for_told(&told, &["up web: "]);
    lab.backends.iter().for_each(|backend| backend.silence());
    let down = "down web: quorum lost: 0 of 4 backends eligible, needs 1";
    wait_for_told(&told, &["up web: ", down]);
    let hook = eventually("the result is in the status", || {
        let status = lab.sluice(&["status", "web", "--json"]).expect(0).json();
        let hook = status["services"][0]["last_hook"].clone();
        (hook["hook"] == "on_unready").then_some(hook)
    });
    assert_eq!(hook["ok"], true);
    let detail = hook["detail"].as_str().unwrap();
    assert!(detail.ends_with("/hook: exit status 0: done"), "{detail}");
    lab.backends[0].serve(8080);
    wait_for_told(&told, &["up web: ", down, "up web: "]);
    daemon.reload(&web(&keys).replace(&format!("listen: {VIP}"), &format!("listen: {VIP}, enabled: false")));
    let off = "down web: disabled";
    wait_for_told(&told, &["up web: ", down, "up web: ", off]);
    daemon.reload(&web(&keys));
    wait_for_told(&told, &["up web: ", down, "up web: ", off, "up web: "]);
    daemon.hand_over();
    let daemon = Daemon::start(&lab);
    wait_for_told(&told, &["up web: ", down, "up web: ", off, "up web: ", "up web: "]);
    daemon.stop();
    let stop = "down web: sluiced is stopping";
    wait_for_told(&told, &["up web: ", down, "up web: ", off, "up web: ", "up web: ", stop]);
}

#[test]
fn hook_gets_its_two_variables_and_nothing_of_the_daemon() {
    let lab = Lab::new();
    let (more, all) = ("env; grep -E '^(CapEff|NoNewPrivs):' /proc/self/status", lab.path("environment"));
    let (keys, _) = hooks(&lab, &format!("({more}) > {0}.new; mv {0}.new {0}", all.display()));
    lab.configure(&web(&keys));
    let _daemon = Daemon::start_with(&lab, &[("SECRET", "of the daemon")]);
    let all = eventually("the hook ran", || fs::read_to_string(&all).ok());
    assert!(!all.contains("SECRET") && !all.contains("NOTIFY_SOCKET"), "{all}");
    for line in
        ["SLUICE_SERVICE=web", "SLUICE_REASON=", "LANG=C", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(all.lines().any(|it| it == line), "{line} in {all}");
    }
}

#[test]
fn hooks_of_a_service_run_one_after_the_other_and_skip_states_that_are_over() {
    let lab = Lab::new();
    // The first waits for the file.
    let go = lab.path("go");
    let (keys, told) = hooks(&lab, &format!("while ! test -e {}; do sleep 0.05; done", go.display()));
    let _daemon = lab.start(&web(&keys));
    wait_for_told(&told, &["up web: "]);
    let drain = |verb| drop(lab.sluice(&[verb, "web/*"]).expect(0));
    for _ in 0..3 {
        drain("drain");
        wait_for(&lab, 3, "web: quorum lost: 0 of 4 backends eligible, needs 1\n");
        drain("enable");
        wait_for(&lab, 0, "");
    }
    drain("drain");
    wait_for(&lab, 3, "web: quorum lost: 0 of 4 backends eligible, needs 1\n");
    wait_for_told(&told, &["up web: "]);
    fs::write(&go, "").expect("let it go on");
    wait_for_told(&told, &["up web: ", "down web: quorum lost: 0 of 4 backends eligible, needs 1"]);
}

#[test]
fn hook_that_hangs_delays_no_flip_and_is_killed_with_its_children() {
    let lab = Lab::new();
    // Another test may have programs that sleep.
    let seconds = 2_000_000 + std::process::id();
    let (keys, told) = hooks(&lab, &format!("sleep {seconds} & sleep {seconds}"));
    let _daemon = lab.start(&web(&keys));
    wait_for_told(&told, &["up web: "]);
    wait_for_healthy(&lab, 4);
    lab.backends[1..].iter().for_each(|backend| backend.silence());
    wait_for_healthy(&lab, 1);
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b1", 10)]));
    let running = || lab.balancer.sh(&format!("pgrep -cxf 'sleep {seconds}' || true")).trim().to_owned();
    assert_eq!(running(), "2", "it still runs");
    eventually("it is killed", || (running() == "0").then_some(()));
    let events = eventually("the failure is an event", || {
        let events = lab.sluice(&["events"]).expect(0).stdout;
        events.contains("web: on_ready: run ").then_some(events)
    });
    assert!(events.contains("/hook: no answer within 10s"), "{events}");
    assert!(lab.sluice(&["status", "web"]).expect(0).stdout.contains("on_ready, "));
}
