//! Reloads under traffic.

use std::fs;

use sluice_testkit::{Lab, Monitor, Shares, eventually};

use crate::{FOUR, web};

const VIP: &str = "203.0.113.10:80";

/// One service on VIP with these backends, YAML in a list.
fn service(backends: &str) -> String {
    format!("services:\n  web: {{listen: {VIP}, backends: [{backends}]}}")
}

#[test]
fn removed_backend_keeps_its_connections_and_gets_no_new_ones() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let mut open: Vec<_> = (0..4).map(|_| lab.client.open(VIP).unwrap()).collect();
    daemon.reload(&service("10.0.2.12:8080, 10.0.2.13:8080"));
    assert_eq!(lab.client.tcp_shares(20, VIP), Shares::from([("b2", 10), ("b3", 10)]));
    assert_eq!(Shares::of(open.iter().map(|conversation| &conversation.answer)), lab.even(1));
    for conversation in &mut open {
        assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
    }
}

#[test]
fn hang_up_adds_removes_and_reweights_backends_and_services() {
    let lab = Lab::new();
    let mut daemon = lab.start(&service("10.0.2.11:8080"));
    assert_eq!(lab.client.tcp_shares(8, VIP), Shares::from([("b1", 8)]));
    for (backends, shares) in [
        ("10.0.2.11:8080, 10.0.2.12:8080", &[("b1", 12), ("b2", 12)][..]),
        ("{address: '10.0.2.11:8080', weight: 3}, 10.0.2.12:8080", &[("b1", 18), ("b2", 6)]),
        ("{address: '10.0.2.11:8080', weight: 3}, 10.0.2.13:8080", &[("b1", 18), ("b3", 6)]),
        ("{address: '10.0.2.11:8080', weight: 0}, 10.0.2.13:8080", &[("b3", 24)]),
        ("10.0.2.14:8080", &[("b4", 24)]),
    ] {
        daemon.reload(&service(backends));
        let expected = shares.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(lab.client.tcp_shares(24, VIP), Shares(expected), "{backends}");
    }
    let second = "\n  more: {listen: ['203.0.113.10:81', '[2001:db8::10]:80'], scheduler: random, backends: \
                  ['10.0.2.12:8080', '[fd00:2::13]:8080']}";
    daemon.reload(&(service("10.0.2.14:8080") + second));
    for (to, backend) in [(VIP, "b4"), ("203.0.113.10:81", "b2"), ("[2001:db8::10]:80", "b3")] {
        assert_eq!(lab.client.tcp(to).unwrap().backend, backend);
    }
    daemon.reload("services: {}");
    assert!(!lab.ruleset().contains("10.0.2."), "{}", lab.ruleset());
    daemon.reload(&web());
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));
}

#[test]
fn storm_of_hang_ups_is_a_few_reloads_and_a_stop_does_not_wait_for_them() {
    let lab = Lab::new();
    let one = |port| format!("  s{port}: {{listen: '203.0.113.20:{port}', backends: {FOUR}}}\n");
    let daemon = lab.start(&format!("services:\n{}", (1..=2000).map(one).collect::<String>()));
    daemon.begin_reload();
    eventually("a reload begins", || (daemon.logged("received SIGHUP") > 0).then_some(()));
    for _ in 0..1000 {
        daemon.begin_reload();
    }
    assert!(daemon.stop().success());
    let log = fs::read_to_string(lab.path("sluiced.log")).unwrap();
    let (before, after) = log.split_once("received SIGTERM").expect("it is logged");
    // One that ran, one for all that came meanwhile, and again; and one that was loaded when the stop came.
    let loads = |log: &str| log.matches("reloaded: ").count();
    assert!(loads(before) <= 8 && loads(after) <= 1, "{} and {}", loads(before), loads(after));
}

#[test]
fn file_that_is_a_fifo_or_a_device_is_a_bad_file_for_a_reload() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let file = lab.config();
    for (make, what) in [("mkfifo", "a FIFO or a pipe"), ("ln -s /dev/zero", "a device")] {
        fs::remove_file(&file).unwrap();
        lab.balancer.sh(&format!("{make} {}", file.display()));
        daemon.hang_up();
        let refused = lab.sluice(&["reload"]).expect(78).stderr;
        assert!(refused.contains(&format!("cannot read the file: it is {what}")), "{refused}");
        assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
    }
    fs::remove_file(&file).unwrap();
    daemon.reload(&service("10.0.2.12:8080"));
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b2", 4)]));
}

#[test]
fn bad_file_changes_nothing_and_every_problem_is_told() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let before = lab.ruleset();
    let mut monitor = Monitor::start(&lab);

    let bad = "services:\n  web:\n    listen: 203.0.113.10:99999\n    backends: [10.0.2.11:8080]\n    shceduler: random";
    daemon.reload(bad);
    for (line, word) in [(3, "99999"), (5, "shceduler")] {
        let place = format!("{}:{line}:", lab.config().display());
        let log = daemon.log();
        assert!(log.lines().any(|l| l.contains(&place) && l.contains(word)), "{place} {word} in\n{log}");
    }
    let told = lab.sluice(&["reload"]).expect(78);
    for line in [3, 5] {
        let place = format!("{}:{line}:", lab.config().display());
        assert!(told.stderr.contains(&place) || told.stdout.contains(&place), "{told:?}");
    }
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    assert_eq!(status["reload"]["ok"], false);
    assert_eq!(status["reload"]["problems"].as_array().unwrap().len(), 2, "{status}");

    assert_eq!(monitor.changes(), "");
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));

    lab.configure(&service("10.0.2.13:8080"));
    lab.sluice(&["reload"]).expect(0);
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b3", 4)]));
    assert_eq!(lab.sluice(&["status", "--json"]).expect(0).json()["reload"]["ok"], true);
}

#[test]
fn file_that_vanished_changes_nothing() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let before = lab.ruleset();
    fs::remove_file(lab.config()).unwrap();
    daemon.hang_up();
    assert!(daemon.logged("No such file") > 0, "{}", daemon.log());
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
}

#[test]
fn reload_with_nothing_changed_sends_nothing() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let mut monitor = Monitor::start(&lab);
    daemon.hang_up();
    lab.sluice(&["reload"]).expect(0);
    // Another text with the same meaning.
    daemon.reload(&format!("# a comment\n{}\nrefresh: 0", web()));
    assert_eq!(monitor.changes(), "");
    daemon.reload(&service("10.0.2.11:8080"));
    assert_ne!(monitor.changes(), "", "the monitor works");
}

#[test]
fn round_robin_goes_on_where_it_was_when_another_service_changes() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let next = || lab.client.tcp(VIP).unwrap().backend;
    let first: Vec<_> = (0..4).map(|_| next()).collect();
    let with_other = |backends: &str| {
        let web = format!("web: {{listen: {VIP}, backends: {FOUR}}}");
        format!("services: {{{web}, other: {{listen: 203.0.113.10:81, backends: [{backends}]}}}}")
    };
    for (n, backends) in
        ["10.0.2.11:1", "10.0.2.11:1, 10.0.2.12:1", "10.0.2.12:1", "", "10.0.2.14:1"].iter().enumerate()
    {
        daemon.reload(&with_other(backends));
        assert_eq!(next(), first[n % 4], "connection {} after the start", n + 5);
    }
}
