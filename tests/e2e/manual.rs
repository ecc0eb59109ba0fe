//! Commands of docs/operations.md that need no systemd, typed.

use std::io;

use sluice_testkit::{Conversation, Lab, manual};

use crate::doctor::about;
use crate::web;

const VIP: &str = "203.0.113.10:80";

#[test]
fn replies_by_the_uplink_of_the_client_need_the_marks_of_the_manual_and_doctor_sees_that() {
    let lab = Lab::new();
    lab.balancer.ip(&format!("link add eth2 type veth peer name eth2 netns {}", lab.client.netns()));
    lab.balancer.ip("link set eth2 up\naddr add 10.0.3.1/24 dev eth2");
    lab.client.ip("link set eth2 up\naddr add 10.0.3.2/24 dev eth2\nroute add 203.0.113.20 via 10.0.3.1");
    // The first provider drops what has an address of the second one.
    lab.client.nft(
        "table ip provider {
           chain arrive {
             type filter hook prerouting priority raw
             iifname \"eth0\" ip saddr 203.0.113.20 drop
           }
         }",
    );
    lab.balancer.ip("addr add 203.0.113.20/32 dev lo\naddr add 203.0.113.10/32 dev lo");
    let yaml =
        "services: {web: {listen: ['203.0.113.10:80', '203.0.113.20:80'], backends: ['10.0.2.11:8080']}}";
    let _daemon = lab.start(yaml);
    let text = "default routes lead to eth0, eth2";
    assert!(about(&lab, text).is_empty(), "there is one default route");
    lab.balancer.ip("route add default via 10.0.3.2 dev eth2 table 102");
    lab.balancer.ip("rule add from 203.0.113.20 lookup 102");
    let found = about(&lab, text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["severity"], "warning");
    // A client that is in no network of the balancer.
    let reaches = |to| lab.client.tcp_from("198.51.100.7:0", to).is_ok();
    assert!(reaches(VIP), "an answer by the first uplink");
    assert!(!reaches("203.0.113.20:80"), "the answer leaves by the first uplink");

    lab.balancer.ip("route flush table 102\nrule del from 203.0.113.20 lookup 102");
    lab.balancer.sh(&manual("two-uplinks", &[]));
    assert!(reaches("203.0.113.20:80"), "an answer by the second uplink");
    assert!(reaches(VIP), "an answer by the first uplink");
    assert!(about(&lab, text).is_empty(), "{:?}", about(&lab, text));
}

#[test]
fn routed_address_with_a_blackhole_route_serves_and_ends_packets_to_other_ports() {
    let lab = Lab::new();
    // Without the rule of the lab that ends them.
    lab.balancer.sh("ip rule del iif eth0 to 203.0.113.0/24 prohibit");
    let _daemon = lab.start(&web());
    assert_eq!(about(&lab, "203.0.113.10 is on no interface")[0]["severity"], "note");
    // The balancer and its default gateway send it to each other.
    let forwarded = || lab.balancer.statistic("Ip", "ForwDatagrams");
    lab.client.set_sysctl("net/ipv4/ip_forward", "1");
    let before = forwarded();
    lab.backends[0].udp("203.0.113.10:81").expect_err("it goes to and fro");
    assert!(forwarded() - before > 10, "{}", forwarded() - before);
    lab.balancer.sh(&manual("end-routed-address", &[]));
    let before = forwarded();
    lab.backends[0].udp("203.0.113.10:81").expect_err("it ends");
    assert_eq!(forwarded(), before);
    lab.client.tcp(VIP).expect("an answer");
    assert!(about(&lab, "203.0.113.10 is on no interface").is_empty());
}

#[test]
fn connections_outlive_a_stop_while_another_table_keeps_nat_active() {
    for keeps in [false, true] {
        let lab = Lab::new();
        lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
        let daemon = lab.start(&web());
        // Conntrack alone is not enough.
        lab.balancer.nft("table inet track { chain arrive { type filter hook prerouting priority 0; ct state new accept; };\n}");
        let mut open = lab.client.open(VIP).unwrap();
        if keeps {
            lab.balancer.sh(&manual("keep-nat", &[]));
        }
        assert!(daemon.stop().success());
        let echo = |open: &mut Conversation| -> io::Result<String> { open.echo("still there?") };
        assert_eq!(echo(&mut open).is_ok(), keeps);
        if keeps {
            lab.balancer.sh(&manual("keep-nat-no-longer", &[]));
            assert!(!lab.ruleset().contains("keep"));
        }
    }
}
