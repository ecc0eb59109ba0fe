//! keepalived moves the addresses, and connections go on without conntrackd, because both nodes choose alike.

use sluice_testkit::{Daemon, Node, eventually};

use crate::load::Load;
use crate::pair::{Pair, VIP, shipped};
use crate::programs::Program;

/// Address of the service.
const ADDRESS: &str = "203.0.113.10";

/// A node whose programs run.
pub(crate) struct Running<'a> {
    pub(crate) node: &'a Node,
    pub(crate) sluiced: Daemon<'a>,
    pub(crate) keepalived: Program<'a>,
}

impl Pair {
    /// Starts sluiced and keepalived on both nodes; the active one is first.
    pub(crate) fn run(&self, file: &str) -> [Running<'_>; 2] {
        let nodes = self.nodes.each_ref().map(|node| (node, node.start(file)));
        let mut running = nodes.map(|(node, sluiced)| {
            let keepalived = self.keepalived(node);
            eventually("a node has the address", || self.holders(ADDRESS).first().map(|_| ()));
            Running { node, sluiced, keepalived }
        });
        self.sort(&mut running);
        running
    }

    /// Puts the active node first: a busy machine may have moved the address.
    fn sort(&self, running: &mut [Running<'_>; 2]) {
        if self.active_and_standby()[0].name() != running[0].node.name() {
            running.reverse();
        }
    }

    /// The node that has the address, and the other one.
    pub(crate) fn active_and_standby(&self) -> [&Node; 2] {
        let active = eventually("one node has the address", || match self.holders(ADDRESS)[..] {
            [node] => Some(node),
            _ => None,
        });
        let standby = self.nodes.iter().find(|node| node.name() != active.name());
        [active, standby.expect("there are two")]
    }

    /// Waits until this many nodes have the address.
    fn wait_for_holders(&self, count: usize, why: &str) {
        eventually(why, || (self.holders(ADDRESS).len() == count).then_some(()));
    }

    /// Waits until a node has the address.
    pub(crate) fn wait_for_move(&self, to: &Node) {
        let has = |holder: &&Node| holder.name() == to.name();
        eventually("the address has moved", || self.holders(ADDRESS).iter().any(has).then_some(()));
    }
}

/// What happens to a running pair, the active node first; it returns what must go on running.
type Event = for<'a> fn(&'a Pair, [Running<'a>; 2]) -> Vec<Running<'a>>;

/// Checks that established connections and new ones survive an event.
#[track_caller]
fn nothing_is_lost(scenario: &str, event: Event) {
    let pair = Pair::new();
    let mut running = pair.run(&shipped("maglev.yaml"));
    let load = Load::start(&pair.client, VIP);
    pair.sort(&mut running);
    let _running = event(&pair, running);
    load.finish(&format!("VRRP, maglev, preserve: {scenario}"));
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_keepalived_stops() {
    nothing_is_lost("SIGTERM of keepalived", |pair, [a, b]| {
        a.keepalived.stop();
        pair.wait_for_move(b.node);
        pair.wait_for_holders(1, "the first node has given them up");
        vec![b]
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_the_cables_of_a_node_are_pulled() {
    nothing_is_lost("both cables pulled", |pair, [a, b]| {
        [&pair.front, &pair.back].iter().for_each(|switch| switch.set_port(a.node, false));
        pair.wait_for_move(b.node);
        vec![a, b]
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_a_node_falls_silent_and_comes_back() {
    nothing_is_lost("node silent, and back later", |pair, [a, b]| {
        pair.isolate(a.node);
        pair.wait_for_move(b.node);
        pair.wait_for_holders(2, "neither knows of the other");
        pair.rejoin(a.node);
        pair.wait_for_holders(1, "one of them gives way");
        vec![a, b]
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_both_nodes_have_the_addresses_after_keepalived_was_killed() {
    nothing_is_lost("kill -9 of keepalived, started again later", |pair, [a, b]| {
        a.keepalived.crash();
        pair.wait_for_move(b.node);
        pair.wait_for_holders(2, "nobody takes them from the first node");
        let keepalived = pair.keepalived(a.node);
        pair.wait_for_holders(1, "keepalived tidies up");
        vec![Running { keepalived, ..a }, b]
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn addresses_move_when_the_service_is_ready_on_the_other_node_only() {
    let pair = Pair::new();
    let [a, b] = pair.run(&shipped("maglev.yaml"));
    eventually("the other node is ready", || (b.node.sluice(&["ready"]).code == Some(0)).then_some(()));
    for number in 11..=14 {
        a.node.sluice(&["disable", &format!("web/10.0.2.{number}:8080")]).expect(0);
    }
    a.node.sluice(&["ready"]).expect(3);
    pair.wait_for_move(b.node);
    pair.wait_for_holders(1, "the first node has given them up");
    pair.client.tcp_times(40, VIP);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn addresses_move_when_sluiced_is_dead() {
    nothing_is_lost("kill -9 of sluiced", |pair, [a, b]| {
        a.sluiced.crash();
        pair.wait_for_move(b.node);
        pair.wait_for_holders(1, "the first node has given them up");
        // keepalived goes on.
        vec![Running { sluiced: Daemon::start(a.node), ..a }, b]
    });
}
