//! A flood of new flows, more than connectors can open, so that gaps of a microsecond during a commit are detected.

use std::net::SocketAddrV4;
use std::thread;

use sluice_testkit::{Datagram, Flood, eventually};

use super::witness::{Witness, counters, let_untranslated_packets_leave};
use super::{lab, reloads, services};

/// Listeners of several kinds, whose pick chains all move.
const TO: [&str; 3] = ["203.0.113.10:53", "203.0.113.10:92", "203.0.113.10:95"];

/// Counts packets that arrive and translated packets that leave, and drops the latter: the same flow is new each time, and
/// fills no table.
const RULES: &str = r#"
table inet flood {
    counter arrived {}
    counter translated {}
    chain arriving {
        type filter hook prerouting priority -350
        iifname "eth0" udp dport { 53, 92, 95 } counter name arrived
    }
    chain leaving {
        type filter hook postrouting priority 310
        oifname "eth1" ip saddr 10.0.2.1 udp dport { 8080-8082 } counter name translated drop
    }
}
"#;

#[test]
fn moves_under_a_flood_of_new_flows_lose_none() {
    let lab = lab();
    let_untranslated_packets_leave(&lab);
    let witness = Witness::start(&lab);
    let mut daemon = lab.start(&services(0));
    lab.balancer.nft(RULES);
    let datagrams: Vec<_> = (0..10_000).map(datagram).collect();
    let mut flood = Flood::new(&lab.client, "eth0", lab.balancer.link_address("eth0"), 0);
    thread::scope(|scope| {
        let changes = scope.spawn(|| (1..=reloads()).for_each(|n| daemon.reload(&services(n))));
        while !changes.is_finished() {
            flood.send(&datagrams);
        }
    });
    let counts = || counters(&lab, "flood");
    eprintln!("{} reloads: {:?}, {:?}", reloads(), counts(), witness.counts());
    eventually("all that arrived is translated", || {
        let counts = counts();
        (counts["arrived"] == counts["translated"]).then_some(())
    });
    assert!(counts()["arrived"] >= datagrams.len() as u64);
    assert_eq!(witness.counts(), Witness::nothing());
    assert_eq!(daemon.logged("reload failed"), 0, "{}", daemon.log());
}

fn datagram(n: u16) -> Datagram {
    let source = SocketAddrV4::new([198, 51, 100, 1 + (n % 120) as u8].into(), 1024 + n);
    Datagram { source, destination: TO[usize::from(n) % TO.len()].parse().expect("an address") }
}
