//! Both nodes choose the same backend.

use sluice_testkit::{Host, Node};

use crate::load::row;
use crate::pair::{Pair, VIP, shipped};

/// Flows of each comparison.
const FLOWS: u16 = 10_000;

/// The backend of each flow through a node.
fn choices(pair: &Pair, node: &Node) -> Vec<String> {
    pair.router.ip(&format!("route replace 203.0.113.10 via {}", node.addresses()[0]));
    let ask = |client: &Host, port: u16| client.udp_from(&format!("198.51.100.2:{port}"), VIP);
    let ports = 20_000..20_000 + FLOWS;
    ports.map(|port| ask(&pair.client, port).unwrap_or_else(|e| panic!("port {port}: {e}")).backend).collect()
}

/// Number of flows for which the nodes differ.
fn differences(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one != other).count()
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn ten_thousand_flows_get_the_same_backend_on_both_nodes_and_only_those_of_a_drained_one_differ() {
    let pair = Pair::new();
    // Answers come back to the node that asks.
    let file = shipped("maglev.yaml").replace("source: preserve", "source: masquerade");
    let [a, b] = &pair.nodes;
    let _running = [a.start(&file), b.start(&file)];
    let all = choices(&pair, a);
    for backend in &pair.backends {
        let share = all.iter().filter(|name| *name == backend.name()).count();
        assert!(share > 1_000, "{} has {share} of {FLOWS}", backend.name());
    }
    assert_eq!(differences(&all, &choices(&pair, b)), 0, "of two live nodes");

    // Health that only one node knows of.
    b.sluice(&["drain", "web/10.0.2.11:8080"]).expect(0);
    a.sh("conntrack -F 2>&1");
    b.sh("conntrack -F 2>&1");
    let fewer = choices(&pair, b);
    let of_first = all.iter().filter(|name| *name == "b1").count();
    assert_eq!(differences(&all, &fewer), of_first, "only flows of the drained backend differ");
    row(&["flows that two nodes lead to different backends, same health", &format!("0 of {FLOWS}")]);
    row(&["the same, one of four backends down on one node only", &format!("{of_first} of {FLOWS}")]);
}
