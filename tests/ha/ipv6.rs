//! The same with IPv6: keepalived moves IPv6 addresses, and connections go on.

use std::time::Duration;

use sluice_testkit::{Node, Talked, eventually};

use crate::load::row;
use crate::pair::{Pair, shipped};

const ADDRESS: &str = "2001:db8::10";
const CONNECTIONS: usize = 200;

/// What stands for each address of the shipped files.
const ADDRESSES: [(&str, &str); 14] = [
    // An instance with IPv6 addresses begins with one of the link.
    ("203.0.113.10/24 dev eth0", "fe80::51/64 dev eth0\n        2001:db8::10/64 dev eth0"),
    ("10.0.2.1/24 dev eth1", "fd00:2::1/64 dev eth1"),
    ("203.0.113.10:80/tcp, 203.0.113.10:80/udp", "'[2001:db8::10]:80/tcp', '[2001:db8::10]:80/udp'"),
    ("192.0.2.10:80/tcp, 192.0.2.10:80/udp", "'[2001:db8:a::10]:80/tcp', '[2001:db8:a::10]:80/udp'"),
    ("192.0.2.0/24{32,32}", "2001:db8:a::/48{128,128}"),
    ("neighbor 203.0.113.1 ", "neighbor 2001:db8::1 "),
    ("neighbor 203.0.113.2 ", "neighbor 2001:db8::2 "),
    ("neighbor 203.0.113.3 ", "neighbor 2001:db8::3 "),
    ("ipv4;", "ipv6;"),
    ("ipv4 {", "ipv6 {"),
    ("10.0.2.11:8080", "'[fd00:2::11]:8080'"),
    ("10.0.2.12:8080", "'[fd00:2::12]:8080'"),
    ("10.0.2.13:8080", "'[fd00:2::13]:8080'"),
    ("10.0.2.14:8080", "'[fd00:2::14]:8080'"),
];

/// A file of config/high-availability with IPv6 addresses.
pub(crate) fn in_ipv6(name: &str) -> String {
    ADDRESSES.iter().fold(shipped(name), |text, (old, new)| text.replace(old, new))
}

/// Gives each host of the network an IPv6 address beside its other one.
pub(crate) fn add_addresses(pair: &Pair) {
    pair.client.ip("address add 2001:db8:c::2/64 dev eth0 nodad\nroute add default via 2001:db8:c::1");
    pair.router.ip("address add 2001:db8:c::1/64 dev eth0 nodad\naddress add 2001:db8::1/64 dev eth1 nodad");
    pair.router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    for (node, number) in pair.nodes.iter().zip(2..) {
        node.ip(&format!(
            "address add 2001:db8::{number}/64 dev eth0 nodad\naddress add fd00:2::{number}/64 dev eth1 nodad\n\
             route add default via 2001:db8::1"
        ));
    }
    for (backend, number) in pair.backends.iter().zip(11..) {
        backend
            .ip(&format!("address add fd00:2::{number}/64 dev eth0 nodad\nroute add default via fd00:2::1"));
        backend.serve_on(&format!("[fd00:2::{number}]:8080"));
    }
    let hosts = pair.nodes.iter().map(|node| &**node).chain([&pair.client, &*pair.router]);
    for host in hosts.chain(&pair.backends) {
        let is_tentative = || !host.sh("ip -6 -oneline address show tentative").is_empty();
        eventually("no address is tentative", || (!is_tentative()).then_some(()));
    }
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn connections_go_on_with_maglev_and_preserve_with_ipv6() {
    let pair = Pair::new();
    add_addresses(&pair);
    let (file, keepalived) = (in_ipv6("maglev.yaml"), in_ipv6("keepalived.conf"));
    let _sluiced = pair.nodes.each_ref().map(|node| node.start(&file));
    let _keepalived = pair.nodes.each_ref().map(|node| pair.keepalived_with(node, &keepalived));
    let active: &Node = eventually("one node has the address", || match pair.holders(ADDRESS)[..] {
        [node] => Some(node),
        _ => None,
    });
    let vip = format!("[{ADDRESS}]:80");
    eventually("the service answers", || pair.client.tcp(&vip).ok());
    let talk = pair.client.talk(CONNECTIONS, Duration::from_secs(1), &vip);
    let standby = pair.nodes.iter().find(|node| node.name() != active.name()).expect("there are two");
    // On a busy machine the connections may have begun on this node, which then knows them.
    standby.sh("conntrack -F 2>&1");
    pair.isolate(active);
    eventually("the address has moved", || {
        pair.holders(ADDRESS).iter().any(|node| node.name() != active.name()).then_some(())
    });
    let Talked { alive, reset, lost, gap } = talk.finish();
    let passed = standby.sh("conntrack -L -f ipv6 -p tcp 2>/dev/null").matches("port=8080").count();
    assert!(passed >= alive, "{alive} are alive, but only {passed} passed the other node");
    row(&[
        "maglev, preserve, IPv6",
        &format!("{alive} of {CONNECTIONS}"),
        &format!("{reset}, {lost}"),
        &format!("{} ms", gap.as_millis()),
    ]);
    assert_eq!((alive, reset, lost), (CONNECTIONS, 0, 0));
}
