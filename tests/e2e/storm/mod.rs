//! Every kind of change, and every kind of exit of a daemon, under load: no connection fails or breaks, no
//! datagram stays unanswered, and no packet leaves the balancer untranslated.

mod flood;
mod load;
mod witness;

use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use load::Load;
use sluice_testkit::{Daemon, Lab, program};
use witness::{Witness, let_untranslated_packets_leave};

/// Number of reloads; `make soak` sets more.
fn reloads() -> usize {
    env::var("SLUICE_RELOADS").map_or(72, |n| n.parse().expect("SLUICE_RELOADS is a number"))
}

/// Number of reloads between two exits of a daemon.
const LIFE: usize = 12;

/// A lab whose backends serve one port per kind of service.
fn lab() -> Lab {
    let lab = Lab::new();
    (8081..=8083).for_each(|port| lab.serve(port));
    // Otherwise a long run would fill the table with closed connections.
    for state in ["tcp_timeout_time_wait", "tcp_timeout_close"] {
        lab.balancer.set_sysctl(&format!("net/netfilter/nf_conntrack_{state}"), "2");
    }
    lab
}

/// The file of reload `n`. Every service has b1 and b2; b3 and b4 are added and removed, and weights, slot counts
/// and schedulers change. `guest` exists half of the time.
fn services(n: usize) -> String {
    let scheduler = |shift: usize| ["round-robin", "random", "source-hash"][(n / 2 + shift) % 3];
    let source = ["masquerade", "preserve"][n / 5 % 2];
    let backends = |shift: usize, prefix: &str, suffix: &str| {
        let backend = |number: usize| {
            let weight = 1 + (n + shift * number) % 4;
            format!("{{address: '{prefix}{}{suffix}', weight: {weight}}}", 10 + number)
        };
        let is_there = |number: &usize| *number <= 2 || !(n + shift + number).is_multiple_of(3);
        (1..=4).filter(is_there).map(backend).collect::<Vec<_>>().join(", ")
    };
    let service = |name: &str, shift: usize, keys: &str, prefix: &str, suffix: &str| {
        let backends = backends(shift, prefix, suffix);
        format!("  {name}: {{{keys}, scheduler: {}, backends: [{backends}]}}\n", scheduler(shift))
    };
    let mut text = String::from("on_stop: keep\nservices:\n")
        + &service("steady", 0, "listen: ['203.0.113.10:80', '203.0.113.10:53/udp']", "10.0.2.", ":8080")
        + &service("wide", 1, "listen: ['203.0.113.10:90-93', '203.0.113.10:90-93/udp']", "10.0.2.", ":8081")
        + &service("six", 2, "listen: '[2001:db8::10]:80'", "[fd00:2::", "]:8080")
        + &service("any", 3, "listen: ['*:95', '*:95/udp'], interface: eth0", "10.0.2.", ":8082")
        + &service("fickle", 4, &format!("listen: '203.0.113.10:94', source: {source}"), "10.0.2.", ":8083");
    if n.is_multiple_of(2) {
        text +=
            &service("guest", 5, "listen: ['203.0.113.10:81', '203.0.113.10:54/udp']", "10.0.2.", ":8080");
    }
    text
}

#[test]
fn storm_on_an_owned_table_loses_nothing() {
    storm(&[]);
}

#[test]
fn storm_on_a_table_without_an_owner_loses_nothing() {
    storm(&[("SLUICE_UNOWNED", "1")]);
}

fn storm(environment: &[(&str, &str)]) {
    let lab = lab();
    let_untranslated_packets_leave(&lab);
    let witness = Witness::start(&lab);
    let (old, new) = (program("sluiced"), lab.path("sluiced-next"));
    fs::copy(&old, &new).expect("copy sluiced");

    lab.configure(&services(0));
    let mut daemon = Some(Daemon::start_with(&lab, environment));
    let table = || lab.balancer.sh("nft -a list tables inet | grep 'inet sluice'");
    let handle = table();
    // Some use backends and services that will be removed.
    let tcp =
        ["203.0.113.10:80", "203.0.113.10:81", "203.0.113.10:91", "[2001:db8::10]:80", "203.0.113.10:94"];
    let load = Load::start(&lab, &tcp, &["203.0.113.10:53", "203.0.113.10:54"]);
    let counts = load.during(|has_failed| {
        for n in 1..=reloads() {
            let running = daemon.take().expect("it runs");
            lab.configure(&services(n));
            let mut next = if n.is_multiple_of(LIFE) {
                end(running, n / LIFE);
                let sluiced: &Path = if n / LIFE % 8 < 4 { &old } else { &new };
                Daemon::start_program(&lab, sluiced, environment)
            } else {
                running
            };
            next.hang_up();
            daemon = Some(next);
            if has_failed() {
                eprintln!("failed after reload {n}");
                break;
            }
        }
    });
    let ends = reloads() / LIFE;
    eprintln!("{} reloads, {ends} ends: {counts}; {:?}", reloads(), witness.counts());
    let daemon = daemon.expect("it runs");
    assert_eq!(daemon.logged("reload failed"), 0, "{}", daemon.log());
    assert_eq!(counts.failures, Vec::<String>::new());
    assert_eq!(witness.counts(), Witness::nothing());
    assert_eq!(counts.sent_again, 0, "{counts}");
    assert_eq!(table(), handle, "the table is the one of the start");
    assert!(counts.connections.min(counts.echoes).min(counts.datagrams) > reloads(), "load: {counts}");
}

/// Ends the daemon in the way of this number, during a reload, which the next daemon must complete.
fn end(daemon: Daemon<'_>, number: usize) {
    match number % 4 {
        1 => daemon.crash(),
        2 => {
            daemon.begin_reload();
            // Probably between its commits.
            thread::sleep(Duration::from_millis(60));
            daemon.crash();
        }
        _ => assert!(daemon.stop().success()),
    }
}
