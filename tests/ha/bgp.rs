//! Both nodes are active: routers spread flows over them, and flows that move between nodes keep their backend.

use sluice_testkit::Daemon;

use crate::ipv6::{add_addresses, in_ipv6};
use crate::load::Load;
use crate::pair::{Pair, shipped};
use crate::programs::Program;

/// The IP version of the service, and of the sessions that announce it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Version {
    /// The address of the service.
    fn address(self) -> &'static str {
        match self {
            Version::V4 => "192.0.2.10",
            Version::V6 => "2001:db8:a::10",
        }
    }

    /// Address and port of the service.
    fn listener(self) -> &'static str {
        match self {
            Version::V4 => "192.0.2.10:80",
            Version::V6 => "[2001:db8:a::10]:80",
        }
    }

    /// A file of config/high-availability.
    fn file(self, name: &str) -> String {
        match self {
            Version::V4 => shipped(name),
            Version::V6 => in_ipv6(name),
        }
    }
}

/// Both nodes, whose address the router has two routes to.
struct Routed<'a> {
    pair: &'a Pair,
    version: Version,
    sluiced: [Option<Daemon<'a>>; 2],
    _bird: Vec<Program<'a>>,
}

impl<'a> Routed<'a> {
    fn start(pair: &'a Pair, version: Version) -> Self {
        pair.answer_through_the_node_that_asked();
        if version == Version::V6 {
            add_addresses(pair);
            pair.router.ip("route add blackhole 2001:db8:a::/48");
            for backend in &pair.backends {
                for number in [2, 3] {
                    let table = 100 + number;
                    backend.sh(&format!(
                        "ip -6 rule add fwmark {number} table {table}\n\
                         ip -6 route add default via fd00:2::{number} table {table}"
                    ));
                }
            }
        }
        let sluiced = pair.nodes.each_ref().map(|node| Some(node.start(&version.file("bgp.yaml"))));
        let bird = |node, name| pair.bird_with(node, &version.file(name));
        let mut all: Vec<_> = pair.nodes.iter().map(|node| bird(node, "bird.conf")).collect();
        all.push(bird(&pair.router, "router-bird.conf"));
        let routed = Routed { pair, version, sluiced, _bird: all };
        routed.wait_for_routes(2);
        routed
    }

    /// Waits until the router has this many routes to the announced service.
    fn wait_for_routes(&self, count: usize) {
        self.pair.wait_for_routes(self.version.address(), count);
    }
}

/// Checks that established connections and new ones survive an event.
#[track_caller]
fn nothing_is_lost(scenario: &str, event: fn(&mut Routed<'_>, &Load)) {
    nothing_is_lost_with(Version::V4, scenario, event);
}

#[track_caller]
fn nothing_is_lost_with(version: Version, scenario: &str, event: fn(&mut Routed<'_>, &Load)) {
    let pair = Pair::new();
    let mut routed = Routed::start(&pair, version);
    let load = Load::start(&pair.client, version.listener());
    event(&mut routed, &load);
    load.finish(&format!("BGP, maglev, preserve: {scenario}"));
}

/// A node leaves, and comes back.
fn leave_and_join(routed: &mut Routed<'_>, load: &Load) {
    routed.pair.nodes[0].sluice(&["leave"]).expect(0);
    routed.wait_for_routes(1);
    load.go_on();
    routed.pair.nodes[0].sluice(&["join"]).expect(0);
    routed.wait_for_routes(2);
}

/// A node falls silent, and comes back.
fn fall_silent(routed: &mut Routed<'_>, load: &Load) {
    routed.pair.isolate(&routed.pair.nodes[0]);
    routed.wait_for_routes(1);
    load.go_on();
    routed.pair.rejoin(&routed.pair.nodes[0]);
    routed.wait_for_routes(2);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_a_node_leaves_and_comes_back() {
    nothing_is_lost("a node leaves, and comes back", leave_and_join);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_an_active_node_falls_silent_and_comes_back() {
    nothing_is_lost("a node falls silent, and comes back", fall_silent);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_with_ipv6_when_a_node_leaves_and_comes_back() {
    nothing_is_lost_with(Version::V6, "a node leaves, and comes back, IPv6", leave_and_join);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_with_ipv6_when_an_active_node_falls_silent_and_comes_back() {
    nothing_is_lost_with(Version::V6, "a node falls silent, and comes back, IPv6", fall_silent);
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn nothing_is_lost_when_both_nodes_are_stopped_and_started_one_after_the_other() {
    nothing_is_lost("stop and start of one node after the other", |routed, load| {
        for (number, node) in routed.pair.nodes.iter().enumerate() {
            let sluiced = routed.sluiced[number].take().expect("it runs");
            assert!(sluiced.stop().success());
            routed.wait_for_routes(1);
            load.go_on();
            routed.sluiced[number] = Some(Daemon::start(node));
            routed.wait_for_routes(2);
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
            assert_eq!(routed.pair.routes(routed.version.address()), 2, "the address stays");
        }
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn node_whose_service_is_dead_gets_no_traffic_until_it_is_back() {
    let pair = Pair::new();
    let routed = Routed::start(&pair, Version::V4);
    let [node, _] = &pair.nodes;
    node.sluice(&["disable", "web/*"]).expect(0);
    routed.wait_for_routes(1);
    assert_eq!(pair.client.tcp_times(40, Version::V4.listener()).len(), 40);
    node.sluice(&["enable", "web/*"]).expect(0);
    routed.wait_for_routes(2);
    assert_eq!(pair.client.tcp_times(40, Version::V4.listener()).len(), 40);
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
