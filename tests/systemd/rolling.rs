//! Two nodes with the package and BIRD, and a router that spreads flows over them.

use sluice_testkit::manual;

use crate::container::Container;
use crate::load::Load;
use crate::pair::{Pair, shipped};

/// Address and port of the service.
const VIP: &str = "192.0.2.10:80";

/// A shipped file of BIRD without BFD: all nodes live, but several containers that boot at a time leave them little processor
/// time.
fn without_bfd(name: &str) -> String {
    let text = shipped(name);
    assert!(text.contains("bfd on;"), "{name}");
    text.replace("bfd on;", "")
}

/// A Debian on each node, with the version before, that announces the service.
fn nodes(pair: &Pair) -> [Container; 2] {
    pair.nodes.each_ref().map(|node| {
        let container = Container::boot(node);
        container.apt("install /packages/previous.deb");
        container.configure(&shipped("bgp.yaml"));
        container.write("/etc/bird/bird.conf", &without_bfd("bird.conf"));
        container.sh("systemctl start sluiced; systemctl restart bird");
        container
    })
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn upgrade_of_one_node_after_the_other_loses_no_connection() {
    let pair = Pair::new();
    pair.answer_through_the_node_that_asked();
    let nodes = nodes(&pair);
    let _bird = pair.bird_with(&pair.router, &without_bfd("router-bird.conf"));
    pair.wait_for_routes("192.0.2.10", 2);
    let load = Load::start(&pair.client, VIP);
    for node in &nodes {
        node.types(&manual("leave", &[]));
        pair.wait_for_routes("192.0.2.10", 1);
        load.go_on();
        node.types(&manual("upgrade", &[("./sluice_NEW_amd64.deb", "/packages/sluice.deb")]));
        node.types(&manual("join", &[]));
        pair.wait_for_routes("192.0.2.10", 2);
        load.go_on();
    }
    load.finish("BGP: rolling upgrade of the package on both nodes");
}
