//! Both nodes are active: routers spread flows over them, and flows that move between nodes keep their backend.

use sluice_testkit::{Daemon, Node};

use crate::load::Load;
use crate::pair::{Pair, shipped};
use crate::programs::Program;

/// Address and port of the service.
const VIP: &str = "192.0.2.10:80";

/// Both nodes, whose address the router has two routes to.
struct Routed<'a> {
    pair: &'a Pair,
    sluiced: [Option<Daemon<'a>>; 2],
    _bird: Vec<Program<'a>>,
}

impl<'a> Routed<'a> {
    fn start(pair: &'a Pair) -> Self {
        pair.answer_through_the_node_that_asked();
        let sluiced = pair.nodes.each_ref().map(|node| Some(node.start(&shipped("bgp.yaml"))));
        let mut bird: Vec<_> = pair.nodes.iter().map(|node| pair.bird(node, "bird.conf")).collect();
        bird.push(pair.bird(&pair.router, "router-bird.conf"));
        let routed = Routed { pair, sluiced, _bird: bird };
        pair.nodes.iter().for_each(announce);
        routed.pair.wait_for_routes(2);
        routed
    }
}

/// Puts the address of the service on `lo`, from where BIRD announces it.
fn announce(node: &Node) {
    node.ip("address add 192.0.2.10/32 dev lo");
}

/// Takes it away.
fn withdraw(node: &Node) {
    node.ip("address del 192.0.2.10/32 dev lo");
}

/// Checks that established connections and new ones survive an event.
#[track_caller]
fn nothing_is_lost(scenario: &str, event: fn(&mut Routed<'_>, &Load)) {
    let pair = Pair::new();
    let mut routed = Routed::start(&pair);
    let load = Load::start(&pair.client, VIP);
    event(&mut routed, &load);
    load.finish(&format!("BGP, maglev, preserve: {scenario}"));
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_a_node_leaves_and_comes_back() {
    nothing_is_lost("a node leaves, and comes back", |routed, load| {
        withdraw(&routed.pair.nodes[0]);
        routed.pair.wait_for_routes(1);
        load.go_on();
        announce(&routed.pair.nodes[0]);
        routed.pair.wait_for_routes(2);
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_an_active_node_falls_silent_and_comes_back() {
    nothing_is_lost("a node falls silent, and comes back", |routed, load| {
        routed.pair.isolate(&routed.pair.nodes[0]);
        routed.pair.wait_for_routes(1);
        load.go_on();
        routed.pair.rejoin(&routed.pair.nodes[0]);
        routed.pair.wait_for_routes(2);
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_both_nodes_are_restarted_one_after_the_other() {
    nothing_is_lost("rolling restart of both", |routed, load| {
        for (number, node) in routed.pair.nodes.iter().enumerate() {
            withdraw(node);
            routed.pair.wait_for_routes(1);
            let sluiced = routed.sluiced[number].take().expect("it runs");
            assert!(sluiced.hand_over().success());
            load.go_on();
            routed.sluiced[number] = Some(Daemon::start(node));
            announce(node);
            routed.pair.wait_for_routes(2);
            load.go_on();
        }
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_while_the_daemon_of_an_active_node_is_dead() {
    nothing_is_lost("kill -9 of sluiced", |routed, load| {
        routed.sluiced[0].take().expect("it runs").crash();
        load.go_on();
        routed.sluiced[0] = Some(Daemon::start(&routed.pair.nodes[0]));
    });
}
