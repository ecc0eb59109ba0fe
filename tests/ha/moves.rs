//! How many established connections survive when the active node falls silent.

use std::time::Duration;

use sluice_testkit::{Talked, eventually};

use crate::load::row;
use crate::pair::{Pair, VIP, shipped};

/// Many connections that talk less often: the machine that runs all this has to keep up.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets `count` connections talk while the active node is isolated.
fn through_a_move(scenario: &str, file: &str, count: usize, conntrackd: bool) -> Talked {
    let pair = Pair::new();
    // Entries that conntrack makes from any packet would hide what conntrackd does.
    let loose = if file.contains("round-robin") { "0" } else { "1" };
    for node in &pair.nodes {
        node.set_sysctl("net/netfilter/nf_conntrack_tcp_loose", loose);
    }
    let running = pair.run(file);
    let _conntrackd: Vec<_> =
        pair.nodes.iter().filter(|_| conntrackd).map(|node| pair.conntrackd(node)).collect();
    let talk = pair.client.talk(count, PAUSE, VIP);
    let [active, standby] = pair.active_and_standby();
    if conntrackd {
        eventually("the other node has the entries", || {
            let entries =
                standby.sh("conntrack -L -p tcp --orig-port-dst 80 --state ESTABLISHED 2>/dev/null");
            (entries.lines().count() >= count).then_some(())
        });
    } else {
        // On a busy machine the connections may have begun on this node, which then knows them.
        standby.sh("conntrack -F 2>&1");
    }
    pair.isolate(active);
    pair.wait_for_move(standby);
    let talked = talk.finish();
    let Talked { alive, reset, lost, gap } = talked;
    let passed = standby.sh("conntrack -L -p tcp 2>/dev/null").matches("port=8080").count();
    assert!(passed >= alive, "{scenario}: {alive} are alive, but only {passed} passed the other node");
    row(&[
        scenario,
        &format!("{alive} of {count}"),
        &format!("{reset}, {lost}"),
        &format!("{} ms", gap.as_millis()),
    ]);
    assert_eq!(alive + reset + lost, count);
    drop(running);
    talked
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn thousand_of_a_thousand_connections_go_on_with_maglev_and_preserve() {
    let talked = through_a_move("maglev, preserve, no conntrackd", &shipped("maglev.yaml"), 1000, false);
    assert_eq!(talked.alive, 1000, "{talked:?}");
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nearly_all_connections_go_on_with_maglev_and_kept_source_ports() {
    let talked =
        through_a_move("maglev, source_ports: keep, no conntrackd", &shipped("keep.yaml"), 1000, false);
    assert!(talked.alive >= 980, "{talked:?}");
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn connections_are_reset_with_maglev_that_does_not_adopt_them() {
    for name in ["maglev.yaml", "keep.yaml"] {
        let file = shipped(name).replacen("scheduler: maglev", "scheduler: maglev\n  midstream: ignore", 1);
        let talked = through_a_move(&format!("{name}, midstream: ignore"), &file, 100, false);
        assert!(talked.alive == 0 && talked.reset > 0, "{name}: {talked:?}");
    }
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn connections_are_reset_with_round_robin_without_conntrackd() {
    let talked = through_a_move("round-robin, no conntrackd", &shipped("conntrackd.yaml"), 100, false);
    assert!(talked.alive == 0 && talked.reset > 0, "{talked:?}");
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn connections_go_on_with_round_robin_and_conntrackd() {
    let talked = through_a_move("round-robin, conntrackd", &shipped("conntrackd.yaml"), 100, true);
    assert_eq!(talked.alive, 100, "{talked:?}");
}
