//! The lab: a client, a balancer and backends.

use std::net::IpAddr;
use std::ops::Deref;

use crate::{Host, Namespace, Node, Shares, Switch};

/// The IPv4 address of services: routed to the balancer, but on none of its interfaces.
pub const VIP4: &str = "203.0.113.10";
/// The IPv6 address of services.
pub const VIP6: &str = "2001:db8::10";

/// One client, one balancer, any number of backends, each in a network namespace:
///
/// ```text
///  client        10.0.1.2 --- 10.0.1.1   balancer   10.0.2.1 ---+--- 10.0.2.11   b1
///  198.51.100.0/24 .2         .1 eth0            eth1 .1        +--- 10.0.2.12   b2
///  2001:db8:c::/64  fd00:1::/64                  fd00:2::/64    :
/// ```
///
/// The client is also the rest of the Internet: it owns every address of 198.51.100.0/24 and 2001:db8:c::/64, and the
/// balancer's default route leads to it. The default route of client and backends leads to the balancer. Packets of the
/// client to 203.0.113.0/24 or 2001:db8::/64 that are not translated get an ICMP error. Forwarding is disabled
/// on all hosts: sluice must enable it.
pub struct Lab {
    /// The client.
    pub client: Host,
    /// The host of sluice: `eth0` leads to the client, `eth1` to the backends.
    pub balancer: Node,
    /// `b1`, `b2`, ...: 10.0.2.11, 10.0.2.12, ... and fd00:2::11, fd00:2::12, ...
    pub backends: Vec<Host>,
    /// The switch between balancer and backends.
    _switch: Switch,
}

impl Lab {
    /// Client, balancer and four backends that serve TCP and UDP on port 8080.
    pub fn new() -> Self {
        let lab = Self::with_backends(4);
        lab.serve(8080);
        lab
    }

    /// Client, balancer and this many backends (at most 80) without servers.
    pub fn with_backends(count: usize) -> Self {
        let switch = Switch::new();
        let client = host("client", "10.0.1.2", "fd00:1::2");
        let balancer = Node::new(host("balancer", "10.0.1.1", "fd00:1::1"));
        let backends: Vec<Host> = (1..=count).map(|n| backend(&switch, n)).collect();

        balancer.ip(&format!("link add eth0 type veth peer name eth0 netns {}", client.netns()));
        switch.connect(&balancer, "eth1");
        client.ip(&join("eth0", "10.0.1.2/24", "fd00:1::2/64", Some(("10.0.1.1", "fd00:1::1"))));
        client.ip("route add local 198.51.100.0/24 dev lo\nroute add local 2001:db8:c::/64 dev lo");
        // Without it a program cannot bind to an IPv6 address of that route.
        client.set_sysctl("net/ipv6/ip_nonlocal_bind", "1");
        balancer.ip(&join("eth0", "10.0.1.1/24", "fd00:1::1/64", Some(("10.0.1.2", "fd00:1::2"))));
        balancer.ip(&join("eth1", "10.0.2.1/24", "fd00:2::1/64", None));
        // Otherwise it would send them back.
        for (family, service_network) in [("-4", "203.0.113.0/24"), ("-6", "2001:db8::/64")] {
            balancer.sh(&format!("ip {family} rule add iif eth0 to {service_network} prohibit"));
        }

        let lab = Lab { client, balancer, backends, _switch: switch };
        lab.wait_for_wires();
        lab
    }

    /// Starts a TCP and a UDP server on a port of every backend.
    pub fn serve(&self, port: u16) {
        self.backends.iter().for_each(|backend| backend.serve(port));
    }

    /// Equal shares of all backends: `even(100)` of four is 100 for each of b1, b2, b3 and b4.
    pub fn even(&self, each: u32) -> Shares {
        Shares(self.backends.iter().map(|backend| (backend.name().to_owned(), each)).collect())
    }

    fn wait_for_wires(&self) {
        self.backends.iter().chain([&self.client, &*self.balancer]).for_each(Host::wait_for_wires);
    }
}

/// The programs under test run on the balancer.
impl Deref for Lab {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.balancer
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

fn host(name: &str, v4: &str, v6: &str) -> Host {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    Host::new(name, Namespace::new(), vec![address(v4), address(v6)])
}

/// A backend, connected to the switch.
fn backend(switch: &Switch, number: usize) -> Host {
    let (v4, v6) = (format!("10.0.2.{}", 10 + number), format!("fd00:2::{}", 10 + number));
    let host = host(&format!("b{number}"), &v4, &v6);
    switch.connect(&host, "eth0");
    host.ip(&join("eth0", &format!("{v4}/24"), &format!("{v6}/64"), Some(("10.0.2.1", "fd00:2::1"))));
    host
}

/// The commands that configure an interface.
fn join(device: &str, v4: &str, v6: &str, gateway: Option<(&str, &str)>) -> String {
    let mut commands =
        format!("link set {device} up\naddr add {v4} dev {device}\naddr add {v6} dev {device} nodad\n");
    if let Some((v4, v6)) = gateway {
        commands += &format!("route add default via {v4}\nroute add default via {v6}\n");
    }
    commands
}
