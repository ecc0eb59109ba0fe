//! A separate table on the balancer that counts packets after all translation.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::UdpSocket;

use sluice_testkit::{Lab, eventually};

/// Packets that must not occur: packets to a listener on the side of the backends; packets with the address of a client
/// whose connections are masqueraded; packets to the client with the address of a backend; resets of long
/// connections. (Short connections check this themselves. A backend that has closed one may answer a duplicate of the
/// last acknowledgement with a reset that reaches no connection.)
const RULES: &str = r#"
table inet witness
delete table inet witness
table inet witness {
    counter untranslated {}
    counter unmasqueraded {}
    counter unanswered {}
    counter resets {}
    chain leaving {
        type filter hook postrouting priority 300
        oifname "eth1" ip daddr 203.0.113.0/24 counter name untranslated
        oifname "eth1" ip6 daddr 2001:db8::/64 counter name untranslated
        oifname "eth1" ip saddr { 10.0.1.2, 198.51.100.0/25 } counter name unmasqueraded
        oifname "eth1" ip6 saddr { fd00:1::2, 2001:db8:c::/64 } counter name unmasqueraded
        oifname "eth0" ip saddr 10.0.2.0/24 counter name unanswered
        oifname "eth0" ip6 saddr fd00:2::/64 counter name unanswered
        ct original ip saddr 10.0.1.2 tcp flags & rst == rst counter name resets
        ct original ip6 saddr fd00:1::2 tcp flags & rst == rst counter name resets
    }
}
"#;

/// Counters that start from zero.
pub struct Witness<'a>(&'a Lab);

impl<'a> Witness<'a> {
    pub fn start(lab: &'a Lab) -> Self {
        lab.balancer.nft(RULES);
        Witness(lab)
    }

    /// Numbers of wrong packets, by error.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        counters(self.0, "witness")
    }

    /// Number of correct packets.
    pub fn nothing() -> BTreeMap<String, u64> {
        ["resets", "unanswered", "unmasqueraded", "untranslated"].map(|name| (name.to_owned(), 0)).into()
    }
}

/// Packet counters of a table on the balancer.
pub fn counters(lab: &Lab, table: &str) -> BTreeMap<String, u64> {
    let listed = lab.balancer.sh(&format!("nft -j list counters table inet {table}"));
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let counters = listed["nftables"].as_array().expect("a list").iter().map(|object| &object["counter"]);
    let counts = counters.filter_map(|counter| Some((counter["name"].as_str()?, &counter["packets"])));
    counts.map(|(name, packets)| (name.to_owned(), packets.as_u64().expect("a number"))).collect()
}

/// Routes untranslated packets to a backend, so that the witness sees them, instead of rejecting them.
pub fn let_untranslated_packets_leave(lab: &Lab) {
    for (family, listeners, backend) in
        [("-4", "203.0.113.0/24", "10.0.2.14"), ("-6", "2001:db8::/64", "fd00:2::14")]
    {
        lab.balancer.sh(&format!(
            "ip {family} rule del iif eth0 to {listeners} prohibit; ip {family} route add {listeners} via {backend}"
        ));
    }
}

#[test]
fn witness_counts_every_kind_of_packet_that_nobody_translates() {
    let lab = Lab::new();
    let_untranslated_packets_leave(&lab);
    let witness = Witness::start(&lab);
    assert_eq!(witness.counts(), Witness::nothing());
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.balancer.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    for (from, to) in [("0.0.0.0:0", "203.0.113.10:53"), ("[::]:0", "[2001:db8::10]:53")] {
        let socket = lab.client.run(|| UdpSocket::bind(from)).expect("bind a socket");
        socket.send_to(b"is anybody there?", to).expect("send a datagram");
    }
    lab.client.tcp("10.0.2.11:8080").expect("a backend answers");
    assert_eq!(lab.client.tcp("10.0.2.11:9").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    eventually("all is counted", || {
        let counts = witness.counts();
        (counts["untranslated"] >= 2 && counts.values().all(|&packets| packets > 0)).then_some(())
    });
}
