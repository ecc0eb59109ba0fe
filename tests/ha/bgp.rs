//! Both nodes are active: routers spread flows over them, and flows that move between nodes keep their backend.

use sluice_testkit::Daemon;

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
        routed.pair.wait_for_routes(2);
        routed
    }
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
        routed.pair.nodes[0].sluice(&["leave"]).expect(0);
        routed.pair.wait_for_routes(1);
        load.go_on();
        routed.pair.nodes[0].sluice(&["join"]).expect(0);
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
fn nothing_is_lost_when_both_nodes_are_stopped_and_started_one_after_the_other() {
    nothing_is_lost("stop and start of one node after the other", |routed, load| {
        for (number, node) in routed.pair.nodes.iter().enumerate() {
            let sluiced = routed.sluiced[number].take().expect("it runs");
            assert!(sluiced.stop().success());
            routed.pair.wait_for_routes(1);
            load.go_on();
            routed.sluiced[number] = Some(Daemon::start(node));
            routed.pair.wait_for_routes(2);
            load.go_on();
        }
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_both_nodes_are_restarted_one_after_the_other() {
    nothing_is_lost("restart of one node after the other", |routed, load| {
        for (number, node) in routed.pair.nodes.iter().enumerate() {
            let sluiced = routed.sluiced[number].take().expect("it runs");
            assert!(sluiced.hand_over().success());
            load.go_on();
            routed.sluiced[number] = Some(Daemon::start(node));
            load.go_on();
            assert_eq!(routed.pair.routes(), 2, "the address stays");
        }
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn node_whose_service_is_dead_gets_no_traffic_until_it_is_back() {
    let pair = Pair::new();
    let _routed = Routed::start(&pair);
    let [node, _] = &pair.nodes;
    node.sluice(&["disable", "web/*"]).expect(0);
    pair.wait_for_routes(1);
    assert_eq!(pair.client.tcp_times(40, VIP).len(), 40);
    node.sluice(&["enable", "web/*"]).expect(0);
    pair.wait_for_routes(2);
    assert_eq!(pair.client.tcp_times(40, VIP).len(), 40);
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
