//! A state directory on a disk that takes long for each write.

use sluice_testkit::{Daemon, Lab, Shares, eventually, program};

const VIP: &str = "203.0.113.10:80";
const FORWARD: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// Two backends with a check; the second service needs forwarding of IPv6.
fn config(lab: &Lab, more: &str) -> String {
    format!(
        "http: {{listen: '127.0.0.1:9180'}}
state: {}
services:
  web:
    listen: {VIP}
    health: {{tcp: {{}}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}}
    backends: [10.0.2.11:8080, 10.0.2.12:8080]
{more}",
        lab.path("state").display()
    )
}

#[test]
fn disk_that_takes_seconds_for_each_write_delays_neither_start_nor_flip_nor_reload_and_is_told_of() {
    // Each fsync takes longer than a client waits for an answer, and two of them belong to each file.
    const SLOW: &str = "strace -D -f -qq -o /dev/null --seccomp-bpf -e signal=none -e trace=fsync \
                        -e inject=fsync:delay_enter=6000000 --";
    let lab = Lab::new();
    lab.configure(&config(&lab, ""));
    let sluiced = lab.sluiced_after("", &format!("{SLOW} {}", program("sluiced").display()));
    let mut daemon = Daemon::start_program(&lab, &sluiced, &[]);
    let page =
        |path: &str| lab.balancer.sh(&format!("curl -s -w ' %{{http_code}}' http://127.0.0.1:9180{path}"));
    assert_eq!(lab.client.tcp_shares(8, VIP), Shares::from([("b1", 4), ("b2", 4)]));

    // The disk is busy with what the start ordered.
    let none = "a write to the state directory is pending for ";
    let problems = || lab.sluice(&["status", "--json"]).expect(0).json()["state"]["problems"].to_string();
    eventually("status says that the disk is slow", || problems().contains(none).then_some(()));
    lab.backends[0].silence();
    eventually("the other backend has all connections", || {
        let answers: Vec<_> = (0..4).map(|_| lab.client.tcp(VIP)).collect::<Result<_, _>>().ok()?;
        (Shares::of(&answers) == Shares::from([("b2", 4)])).then_some(())
    });
    assert!(problems().contains(none), "{}", problems());
    assert_eq!(page("/healthz"), "ok\n 200", "the process is well");
    assert!(page("/metrics").contains("\nsluice_state_directory_writable 0\n"));

    daemon.reload(&config(&lab, "  six: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::12]:8080']}"));
    assert_eq!(lab.client.tcp("[2001:db8::10]:80").expect("an answer").backend, "b2");
    let drained = lab.sluice(&["drain", "web/10.0.2.12:8080", "--json"]).expect(0).json();
    let not_remembered = drained["not_remembered"].as_str().expect("it is told");
    assert!(not_remembered.contains("is pending for 5 s"), "{not_remembered}");
    assert!(lab.client.tcp(VIP).is_err(), "it is drained all the same");

    daemon.begin_stop();
    eventually("table and forwarding are gone", || {
        let forwards = FORWARD.map(|key| lab.balancer.sysctl(key));
        (lab.ruleset().is_empty() && forwards == ["0", "0"]).then_some(())
    });
}
