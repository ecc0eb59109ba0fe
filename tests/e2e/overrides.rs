//! Overrides of backends by operators at run time.

use std::fs::{self, File};
use std::process::Command;

use sluice_testkit::{Lab, Shares, eventually, program};

const VIP: &str = "203.0.113.10:80";

fn two() -> String {
    let backends = "[{address: '10.0.2.11:8080', name: one}, {address: '10.0.2.12:8080', name: two}]";
    format!("on_stop: keep\nservices: {{web: {{listen: '{VIP}', backends: {backends}}}}}")
}

fn shares(lab: &Lab) -> Shares {
    lab.client.tcp_shares(20, VIP)
}

#[test]
fn drained_backend_keeps_its_connections_and_gets_no_new_ones() {
    let lab = Lab::new();
    let daemon = lab.start(&two());
    let mut open: Vec<_> = (0..2).map(|_| lab.client.open(VIP).unwrap()).collect();
    let said = lab.sluice(&["drain", "web/one"]).expect(0).stdout;
    assert_eq!(said, "web/one: drain, weight 1, 0.0 % of new connections, 1 live connection\n");
    assert!(daemon.logged("web/one set to drain by uid 0") > 0, "{}", daemon.log());
    assert_eq!(shares(&lab), Shares::from([("b2", 20)]));
    for conversation in &mut open {
        assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
    }
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains("drain, 1 left") && told.contains("one: drain by uid 0"), "{told}");
    let backend = &lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["backends"][0];
    assert_eq!(backend["active"], 1);
    assert_eq!((&backend["admin"], &backend["eligible"]), (&"drain".into(), &false.into()));
    assert_eq!((&backend["override"]["admin"], &backend["override"]["uid"]), (&"drain".into(), &0.into()));
    drop(open);
    eventually("all its connections have ended", || {
        lab.sluice(&["status"]).expect(0).stdout.contains("drained").then_some(())
    });
    lab.sluice(&["enable", "web/one"]).expect(0);
    assert_eq!(shares(&lab), Shares::from([("b1", 10), ("b2", 10)]));
}

#[test]
fn what_was_said_survives_reload_restart_and_crash_and_ends_with_its_backend() {
    let lab = Lab::new();
    let mut daemon = lab.start(&two());
    lab.sluice(&["weight", "web/one", "3"]).expect(0);
    assert_eq!(shares(&lab), Shares::from([("b1", 15), ("b2", 5)]));
    lab.sluice(&["disable", "web/two"]).expect(0);
    let only = Shares::from([("b1", 20)]);
    assert_eq!(shares(&lab), only);
    daemon.reload(&format!("# the same\n{}", two()));
    assert_eq!(shares(&lab), only, "after a reload");
    daemon.stop();
    let daemon = lab.start(&two());
    assert_eq!(shares(&lab), only, "after a restart");
    daemon.crash();
    let mut daemon = lab.start(&two());
    assert_eq!(shares(&lab), only, "after a crash");
    let backend = &lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["backends"][0];
    assert_eq!((&backend["weight"], &backend["override"]["weight"]), (&3.into(), &3.into()));
    let renamed = two().replace("name: two", "name: other");
    daemon.reload(&renamed);
    assert_eq!(shares(&lab), only, "under another name");
    daemon.reload(&renamed.replace("10.0.2.12", "10.0.2.13").replace("other", "new"));
    assert_eq!(shares(&lab), Shares::from([("b1", 15), ("b3", 5)]));
    let discarded = "discarded override of web/other: the backend is no longer configured";
    assert!(daemon.logged(discarded) > 0, "{}", daemon.log());
    daemon.reload(&two());
    lab.sluice(&["weight", "web/one", "default"]).expect(0);
    assert_eq!(shares(&lab), Shares::from([("b1", 10), ("b2", 10)]));
}

#[test]
fn unknown_backend_is_refused_by_name() {
    let lab = Lab::new();
    let _daemon = lab.start(&two());
    for (named, told) in [("web/twa", "service web has no backend twa"), ("wob/one", "no service wob")] {
        let refused = lab.sluice(&["drain", named]).expect(1);
        assert!(refused.stderr.contains(told) && refused.stderr.contains("did you mean"), "{refused:?}");
    }
    for command in [
        &["drain", "web/two", "web/three"][..],
        &["disable", "web/*", "wob/*"],
        &["weight", "web/two", "web/three", "2"],
    ] {
        let refused = lab.sluice(command).expect(1);
        assert!(refused.stderr.contains("; no backend was changed"), "{refused:?}");
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(lab.sluice(&["overrides"]).expect(0).stdout, "no overrides\n");
    lab.sluice(&["drain", "web"]).expect(2);
    lab.sluice(&["weight", "web/one", "257"]).expect(2);
}

#[test]
fn several_backends_change_with_one_command() {
    let lab = Lab::new();
    let _daemon = lab.start(&two());
    let told = lab.sluice(&["weight", "web/two", "web/*", "3"]).expect(0).stdout;
    let line =
        |name| format!("web/{name}: enabled, weight 3, 50.0 % of new connections, 0 live connections\n");
    assert_eq!(told, line("two") + &line("one"));
    assert_eq!(
        lab.sluice(&["drain", "web/*"]).expect(0).stdout.matches(": drain, weight 3, 0.0 %").count(),
        2
    );
    lab.sluice(&["drain", "--wait", "--timeout", "10s", "web/one", "web/two"]).expect(0);
    let lines = lab.sluice(&["reset", "--json", "web/one", "web/two"]).expect(0).stdout;
    let names = lines.lines().map(|line| line.parse::<serde_json::Value>().unwrap()["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(shares(&lab), Shares::from([("b1", 10), ("b2", 10)]));
}

#[test]
fn overrides_are_listed_with_who_when_and_why_and_one_command_resets_them_all() {
    let lab = Lab::new();
    let daemon = lab.start(&two());
    assert_eq!(lab.sluice(&["overrides"]).expect(0).stdout, "no overrides\n");
    lab.sluice(&["drain", "--reason", "kernel update", "web/*"]).expect(0);
    lab.sluice(&["weight", "web/one", "3"]).expect(0);
    daemon.stop();
    let _daemon = lab.start(&two());
    let listed = lab.sluice(&["overrides", "--json"]).expect(0).json();
    let keys = ["service", "backend", "admin", "weight", "uid", "reason"];
    let rows: Vec<Vec<_>> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| keys.iter().map(|key| row[key].to_string()).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["\"web\"", "\"one\"", "\"drain\"", "3", "0", "\"kernel update\""],
            ["\"web\"", "\"two\"", "\"drain\"", "null", "0", "\"kernel update\""],
        ]
    );
    let told = lab.sluice(&["overrides"]).expect(0).stdout;
    assert!(
        told.contains("web/one") && told.contains("drain, weight 3") && told.contains("kernel update"),
        "{told}"
    );
    assert!(lab.sluice(&["status"]).expect(0).stdout.contains("(override): kernel update"));
    lab.sluice(&["reset", "web/*"]).expect(0);
    assert_eq!(lab.sluice(&["overrides"]).expect(0).stdout, "no overrides\n");
    assert_eq!(shares(&lab), Shares::from([("b1", 10), ("b2", 10)]));
    let all = lab.sluice(&["drain", "web"]).expect(2).stderr;
    assert!(all.contains("write SERVICE/BACKEND, or web/* for all backends of a service"), "{all}");
    let long = "x".repeat(201);
    for reason in [long.as_str(), "two\nlines"] {
        let refused = lab.sluice(&["drain", "--reason", reason, "web/one"]).expect(1);
        assert!(refused.stderr.contains("a reason has at most 200 characters"), "{refused:?}");
    }
}

#[test]
fn drain_waits_until_no_connection_is_left_or_the_time_is_over() {
    let lab = Lab::new();
    let _daemon = lab.start(&two());
    let mut open: Vec<_> = (0..2).map(|_| lab.client.open(VIP).unwrap()).collect();
    let told = lab.sluice(&["drain", "--wait", "--timeout", "1s", "web/*"]).expect(3);
    for backend in ["web/one", "web/two"] {
        assert!(told.stderr.contains(&format!("{backend} still has 1 live connection")), "{told:?}");
    }
    for conversation in &mut open {
        assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
    }
    drop(open);
    lab.sluice(&["drain", "--wait", "web/*"]).expect(0);
    lab.sluice(&["drain", "--timeout", "1s", "web/one"]).expect(2);
    lab.sluice(&["drain", "--wait", "--timeout", "soon", "web/one"]).expect(2);
}

#[test]
fn status_check_fails_when_a_service_has_no_backend_and_says_which() {
    let lab = Lab::new();
    let mut daemon = lab.start(&two());
    assert_eq!(lab.sluice(&["status", "--check"]).expect(0).stdout, "");
    assert!(!lab.sluice(&["status", "--problems"]).expect(0).stdout.contains("web:"));
    lab.sluice(&["disable", "web/*"]).expect(0);
    let told = lab.sluice(&["status", "--check"]).expect(3).stdout;
    assert_eq!(told, "web: no backend gets new connections\n");
    assert!(lab.sluice(&["status", "--problems"]).expect(0).stdout.contains("web: no backends"));
    lab.sluice(&["enable", "web/*"]).expect(0);
    lab.sluice(&["status", "--check"]).expect(0);
    daemon.reload("services: 7");
    let told = lab.sluice(&["status", "--check"]).expect(3).stdout;
    assert!(told.starts_with("the last reload failed: "), "{told}");
}

#[test]
fn events_are_told_once_with_time_and_backend() {
    let lab = Lab::new();
    let _daemon = lab.start(&two());
    lab.sluice(&["drain", "--reason", "kernel update", "web/one"]).expect(0);
    let told = lab.sluice(&["events"]).expect(0).stdout;
    let line = told.lines().last().unwrap();
    assert!(line.ends_with("Z  web/one: drain by uid 0: kernel update"), "{told}");
    assert_eq!(told.matches("started: ").count(), 1, "{told}");
    let json = lab.sluice(&["events", "--json"]).expect(0).stdout;
    assert_eq!(json.lines().count(), told.lines().count());
}

#[test]
fn events_are_followed_across_a_restart_of_the_daemon() {
    let lab = Lab::new();
    let daemon = lab.start(&two());
    let path = lab.path("followed");
    let mut follow = Command::new(program("sluice"));
    follow.args(["events", "--follow"]).env("SLUICE_SOCKET", lab.path("sluice.sock"));
    follow.stdout(File::create(&path).unwrap()).stderr(File::create(lab.path("errors")).unwrap());
    let mut follow = lab.balancer.run(|| follow.spawn()).unwrap();
    let wait_for = |text: &str, times: usize| {
        let what = format!("{text} is told");
        eventually(&what, || (fs::read_to_string(&path).ok()?.matches(text).count() == times).then_some(()));
    };
    wait_for("started: ", 1);
    lab.sluice(&["drain", "web/one"]).expect(0);
    wait_for("web/one: drain", 1);
    daemon.stop();
    eventually("the daemon is missed", || {
        let errors = fs::read_to_string(lab.path("errors")).ok()?;
        (errors.lines().count() == 1 && errors.ends_with("(trying again)\n")).then_some(())
    });
    let _daemon = lab.start(&two());
    wait_for("started: ", 2);
    lab.sluice(&["enable", "web/one"]).expect(0);
    wait_for("web/one: enabled", 1);
    follow.kill().unwrap();
    follow.wait().unwrap();
}
