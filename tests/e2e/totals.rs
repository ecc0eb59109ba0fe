//! Totals of new connections across exits and starts of the daemon.

use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_testkit::{Daemon, Lab, program};

use crate::web;

const VIP: &str = "203.0.113.10:80";

/// New connections of each backend in `sluice status`.
fn totals(lab: &Lab) -> Vec<u64> {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let backends = status["services"][0]["backends"].as_array().expect("backends");
    backends.iter().map(|backend| backend["connections_total"].as_u64().expect("a number")).collect()
}

/// The same file with another number of slots.
fn web_with_weight(weight: u32) -> String {
    web().replace("10.0.2.11:8080", &format!("{{address: '10.0.2.11:8080', weight: {weight}}}"))
}

#[test]
fn totals_count_on_over_stop_crash_and_reload() {
    let lab = Lab::new();
    let connect = |times| drop(lab.client.tcp_times(times, VIP));
    let mut daemon = lab.start(&web_with_weight(1));
    connect(40);
    daemon.reload(&web_with_weight(5));
    connect(80);
    assert_eq!(totals(&lab), [60, 20, 20, 20]);
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), "");

    let mut daemon = Daemon::start(&lab);
    assert_eq!(totals(&lab), [60, 20, 20, 20]);
    connect(80);
    daemon.reload(&web_with_weight(1));
    connect(4);
    daemon.crash();
    connect(4);

    let _daemon = Daemon::start(&lab);
    assert_eq!(totals(&lab), [112, 32, 32, 32]);
}

#[test]
fn totals_never_go_backwards_when_the_daemon_is_killed_while_slots_change_under_traffic() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web_with_weight(1));
    let began = Instant::now();
    daemon.reload(&web_with_weight(2));
    let whole = began.elapsed();
    let mut opened = 0;
    for kill in 0..12 {
        lab.client.tcp_times(16, VIP);
        opened += 16;
        let seen = totals(&lab);
        lab.configure(&web_with_weight(1 + kill % 3));
        daemon.begin_reload();
        sleep(whole * kill / 10);
        daemon.crash();
        daemon = Daemon::begin(&lab, &program("sluiced"), &[]);
        // In some rounds before it is ready.
        sleep(Duration::from_millis(u64::from(kill % 3) * 5));
        daemon.crash();
        daemon = Daemon::start(&lab);
        let now = totals(&lab);
        assert!(now.iter().zip(&seen).all(|(now, seen)| now >= seen), "kill {kill}: {seen:?} became {now:?}");
        assert!(now.iter().sum::<u64>() <= opened, "kill {kill}: {now:?} of {opened}");
    }
    assert!(daemon.stop().success());
}
