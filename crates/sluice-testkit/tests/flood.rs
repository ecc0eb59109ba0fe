//! The generator of new flows.

use std::net::SocketAddrV4;

use sluice_testkit::{Datagram, Flood, Namespace};

#[test]
fn flood_from_many_sources_reaches_the_wire_whole() {
    let (sender, receiver) = (Namespace::new(), Namespace::new());
    sender.ip("link add eth0 type veth peer name eth1");
    sender.ip(&format!("link set eth1 address 02:00:00:00:00:02 netns {}", receiver.netns()));
    sender.ip("link set eth0 up");
    receiver.ip("link set eth1 up");
    receiver.nft(
        "table netdev t { counter arrived { }; chain c { type filter hook ingress device eth1 priority 0;
         ip saddr 198.18.0.0/16 ip daddr 100.64.0.1 ip checksum != 0 udp dport 80 counter name arrived drop; }\n}",
    );

    let destination: SocketAddrV4 = "100.64.0.1:80".parse().unwrap();
    let datagrams: Vec<_> = (0..1001)
        .map(|n| Datagram { source: SocketAddrV4::new([198, 18, 0, 1].into(), 1024 + n), destination })
        .collect();
    let mut flood = Flood::new(&sender, "eth0", [2, 0, 0, 0, 0, 2], 0);
    let times = flood.send(&datagrams);

    assert_eq!(times.len(), 5, "four whole batches and one more");
    let counters = receiver.sh("nft list counters");
    assert!(counters.contains("packets 1001 "), "{counters}");
}
