//! Tables with our name and another layout, taken over under traffic. What has another declaration has another name.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sluice_testkit::{Daemon, Lab, eventually};

use crate::FOUR;

const WEB: &str = "203.0.113.10:80";
const API: &str = "203.0.113.10:81";

fn services() -> String {
    format!(
        "services:\n  web: {{listen: {WEB}, backends: {FOUR}}}\n  api: {{listen: {API}, scheduler: random, \
         backends: {FOUR}}}"
    )
}

/// Starts the daemon on a table with another layout and without flags, under traffic, and expects no effect on clients.
/// Calls `look` before the start, after 20 connections to each service, and at the end. Returns both results, and the number
/// of further connections in between.
fn migrate<T>(layout: &str, look: impl Fn(&Lab) -> T) -> (T, T, u64) {
    let lab = Lab::new();
    lab.configure(&services());
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.balancer.nft(layout);
    for to in [WEB, API] {
        lab.client.tcp_times(16, to);
    }
    let mut open: Vec<_> = [WEB, API].repeat(4).iter().map(|to| lab.client.open(to).unwrap()).collect();
    let before = look(&lab);

    let (connected, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (daemon, count) = thread::scope(|scope| {
        let connector = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                // Many clients, so that no port is reused while conntrack has its last connection.
                let from = format!("198.51.100.{}:0", 1 + count % 250);
                for to in [WEB, API] {
                    lab.client.tcp_from(&from, to).unwrap_or_else(|e| panic!("{to} after {count}: {e}"));
                }
                count += 1;
                connected.store(true, Ordering::Relaxed);
            }
            count
        });
        eventually("there is traffic", || connected.load(Ordering::Relaxed).then_some(()));
        let daemon = Daemon::start(&lab);
        for conversation in &mut open {
            assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
        }
        done.store(true, Ordering::Relaxed);
        (daemon, connector.join().expect("every connection succeeds"))
    });
    // A lost SYN is retransmitted and connects in the end, so losses show only here.
    assert_eq!(lab.client.statistic("TcpExt", "TCPSynRetrans"), 0);
    let after = look(&lab);

    assert_eq!(daemon.logged("reconcile:"), 0, "{}", daemon.log());
    assert_eq!(lab.client.tcp_shares(40, WEB), lab.even(10));
    // It cannot get an owner, and status shows that.
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    assert_eq!(status["table"]["flags"], serde_json::json!([]));
    lab.sluice(&["plan"]).expect(0);
    let migrated = lines(&lab);
    lab.balancer.nft("delete table inet sluice");
    lab.sluice(&["reload"]).expect(0);
    assert_eq!(migrated, lines(&lab), "it is what a start on an empty kernel makes");
    (before, after, count)
}

/// Lines of the ruleset, in order of the creation of objects.
fn lines(lab: &Lab) -> BTreeSet<String> {
    lab.ruleset().lines().map(str::to_owned).collect()
}

/// Sum of the packet counters of a map's slots.
fn counted(lab: &Lab, map: &str) -> u64 {
    let text =
        lab.balancer.sh(&format!("nft list map inet sluice {map} || nft list map inet sluice old-{map}"));
    let counts = text.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next());
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

#[test]
fn table_without_sized_sets_is_migrated_and_what_is_as_ever_keeps_its_counters() {
    let layout = include_str!("layouts/without-sizes.nft");
    let (before, after, count) = migrate(layout, |lab| counted(lab, "random4-4"));
    assert_eq!((before, after), (20, 20 + count));
}

#[test]
fn table_without_counters_is_migrated_and_counts() {
    let layout = include_str!("layouts/without-counters.nft");
    let (before, after, _) = migrate(layout, |lab| {
        lab.client.tcp(API).unwrap();
        counted(lab, "random4-4")
    });
    assert_eq!(before, 0);
    assert!(after > 0);
}

#[test]
fn table_of_another_design_is_migrated_and_the_plan_names_what_cannot_be_read() {
    let layout = include_str!("layouts/another-design.nft");
    let (plan, nothing, _) = migrate(layout, |lab| lab.sluice(&["plan"]).stdout);
    for line in [
        "- delete set inet sluice listeners  # sluice cannot read the declaration of listeners",
        "- delete set inet sluice clients  # sluice cannot read the declaration of clients",
        "- delete chain inet sluice outbound  # sluice cannot read type, hook or policy of chain outbound",
        "- flush chain inet sluice inbound  # sluice cannot read a set without a name",
        "- delete counter inet sluice seen  # sluice cannot read counter seen",
    ] {
        assert!(plan.lines().any(|planned| planned == line), "{line} in\n{plan}");
    }
    assert_eq!(nothing, "nothing to do\n");
}
