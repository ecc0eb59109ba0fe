//! The network of the tests: two balancers.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use sluice_testkit::{Host, Namespace, Node, Switch, eventually, program};
use tempfile::TempDir;

/// A client, a router, two balancers and four backends:
///
/// ```text
///                                      +--- .2 eth0  A  eth1 .2 ---+--- 10.0.2.11  b1
///  client ----------- router ----------+       eth2                +--- 10.0.2.12  b2
///  198.51.100.2       203.0.113.1      |    10.0.3.0/30            +--- 10.0.2.13  b3
///                                      +--- .3 eth0  B  eth1 .3 ---+--- 10.0.2.14  b4
///                                    front                        back
/// ```
///
/// The default route of balancers and client leads to the router, that of backends to 10.0.2.1, which keepalived moves
/// together with the address of the services.
pub(crate) struct Pair {
    pub(crate) client: Host,
    pub(crate) router: Node,
    pub(crate) nodes: [Node; 2],
    pub(crate) backends: Vec<Host>,
    pub(crate) front: Switch,
    pub(crate) back: Switch,
    /// Programs that belong to the package, where it puts them.
    pub(crate) bin: TempDir,
}

/// Address and port of the service, as in the files of config/high-availability.
pub(crate) const VIP: &str = "203.0.113.10:80";

impl Pair {
    /// The network without addresses that move.
    pub(crate) fn new() -> Self {
        let host = |name: &str, address: &str| {
            Host::new(name, Namespace::new(), vec![address.parse::<IpAddr>().expect("an address")])
        };
        let (front, back) = (Switch::new(), Switch::new());
        let client = host("client", "198.51.100.2");
        let router = Node::new(host("router", "203.0.113.1"));
        router.ip(&format!("link add eth0 type veth peer name eth0 netns {}", client.netns()));
        join(&client, "eth0", "198.51.100.2/24");
        client.ip("route add default via 198.51.100.1");
        join(&router, "eth0", "198.51.100.1/24");
        front.connect(&router, "eth1");
        join(&router, "eth1", "203.0.113.1/24");
        router.set_sysctl("net/ipv4/ip_forward", "1");
        // BIRD changes a route by deleting and adding it. Between these, the router would refuse connections.
        router.ip("route add blackhole 192.0.2.0/24");
        // Tests move an address within the second in which Linux ignores that its link address changes again.
        router.set_sysctl("net/ipv4/neigh/eth1/locktime", "0");
        // Flows, not addresses, are spread over next hops.
        for version in ["ipv4", "ipv6"] {
            router.set_sysctl(&format!("net/{version}/fib_multipath_hash_policy"), "1");
        }

        let nodes = [("a", 2), ("b", 3)].map(|(name, number)| {
            let node = Node::new(host(name, &format!("203.0.113.{number}")));
            front.connect(&node, "eth0");
            back.connect(&node, "eth1");
            join(&node, "eth0", &format!("203.0.113.{number}/24"));
            node.ip(&format!("link set eth1 address 02:00:0a:00:02:0{number}"));
            join(&node, "eth1", &format!("10.0.2.{number}/24"));
            node.ip("route add default via 203.0.113.1");
            shipped("sysctl.conf").lines().filter_map(|line| line.split_once(" = ")).for_each(
                |(key, value)| {
                    node.set_sysctl(&key.replace('.', "/"), value);
                },
            );
            node
        });
        nodes[0].ip(&format!("link add eth2 type veth peer name eth2 netns {}", nodes[1].netns()));
        join(&nodes[0], "eth2", "10.0.3.1/30");
        join(&nodes[1], "eth2", "10.0.3.2/30");

        let backends = (1..=4).map(|number| {
            let address = format!("10.0.2.{}", 10 + number);
            let backend = host(&format!("b{number}"), &address);
            back.connect(&backend, "eth0");
            join(&backend, "eth0", &format!("{address}/24"));
            backend.ip("route add default via 10.0.2.1");
            backend.set_sysctl("net/ipv4/neigh/eth0/locktime", "0");
            backend.serve(8080);
            backend
        });
        let (backends, bin) = (backends.collect(), tempfile::tempdir().expect("make a temporary directory"));
        fs::copy(program("sluice"), bin.path().join("sluice")).expect("copy sluice");
        let pair = Pair { client, router, nodes, backends, front, back, bin };
        let hosts = pair.nodes.iter().map(|node| &**node).chain([&pair.client, &*pair.router]);
        hosts.chain(&pair.backends).for_each(Host::wait_for_wires);
        pair
    }

    /// The nodes that have an address.
    pub(crate) fn holders(&self, address: &str) -> Vec<&Node> {
        let has = |node: &&Node| node.sh("ip -oneline address").contains(&format!(" {address}/"));
        self.nodes.iter().filter(has).collect()
    }

    /// Has backends answer through the node that a request came through.
    pub(crate) fn answer_through_the_node_that_asked(&self) {
        for backend in &self.backends {
            backend.nft(&shipped("backend.nft"));
            for number in [2, 3] {
                let table = 100 + number;
                backend.ip(&format!("rule add fwmark {number} table {table}"));
                backend.ip(&format!("route add default via 10.0.2.{number} table {table}"));
            }
        }
    }

    /// Waits until the router has this many routes to an announced address.
    pub(crate) fn wait_for_routes(&self, address: &str, count: usize) {
        let has_all = || (self.routes(address) == count).then_some(());
        eventually(&format!("the router has {count} routes to {address}"), has_all);
    }

    /// How many routes the router has to an announced address.
    pub(crate) fn routes(&self, address: &str) -> usize {
        // Of several routes each is a `nexthop`.
        let version = if address.contains(':') { 6 } else { 4 };
        self.router.sh(&format!("ip -{version} route show {address}")).matches(" via ").count()
    }

    /// Isolates a node from clients, router, backends and, on both switches, from the other node, which cannot see why.
    pub(crate) fn isolate(&self, node: &Node) {
        [&self.front, &self.back].iter().for_each(|switch| switch.isolate(node));
        node.ip("link set eth2 down");
    }

    /// Connects it again.
    pub(crate) fn rejoin(&self, node: &Node) {
        [&self.front, &self.back].iter().for_each(|switch| switch.join(node));
        node.ip("link set eth2 up");
    }
}

/// Sets an interface up, with an address.
fn join(host: &Host, interface: &str, address: &str) {
    host.ip(&format!("link set {interface} up\naddress add {address} dev {interface}"));
}

/// A file of config/high-availability.
pub(crate) fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/high-availability").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}
