//! The recipe that `sluice render --format iptables` prints, loaded without a daemon.

use std::process::Command;

use sluice_testkit::{Lab, Shares};

use crate::{FOUR, FOUR6};

/// A lab whose balancer uses the recipe alone, loaded by this flavour of `iptables-restore`.
fn recipe(flavour: &str, yaml: &str) -> Lab {
    let lab = Lab::new();
    lab.configure(yaml);
    for (family, command) in [("ip", "iptables"), ("ip6", "ip6tables")] {
        let arguments =
            ["render", lab.config().to_str().unwrap(), "--format", "iptables", "--family", family]
                .map(str::to_owned);
        let rules = lab.sluice(&arguments.each_ref().map(String::as_str)).expect(0).stdout;
        let mut restore = Command::new(format!("{command}-{flavour}-restore"));
        // The lock of iptables is shared by all network namespaces.
        lab.balancer.feed(restore.env("XTABLES_LOCKFILE", lab.path("xtables.lock")), &rules);
    }
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.balancer.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    lab
}

#[test]
fn recipe_for_iptables_nft_shares_as_the_file_says() {
    shares("nft");
}

#[test]
fn recipe_for_iptables_legacy_shares_as_the_file_says() {
    shares("legacy");
}

fn shares(flavour: &str) {
    let lab = recipe(
        flavour,
        &format!(
            "services:
               equal: {{listen: [203.0.113.10:80, 203.0.113.10:53/udp], backends: {FOUR}}}
               equal6: {{listen: '[2001:db8::10]:80', backends: {FOUR6}}}
               weighted:
                 listen: 203.0.113.10:81
                 backends: [{{address: 10.0.2.11:8080, weight: 5}}, {{address: 10.0.2.12:8080, weight: 2}}, 10.0.2.13:8080]
               chance: {{listen: 203.0.113.10:82, scheduler: random, backends: {FOUR}}}
               uneven:
                 listen: 203.0.113.10:83
                 scheduler: random
                 backends: [{{address: 10.0.2.11:8080, weight: 5}}, {{address: 10.0.2.12:8080, weight: 2}}, 10.0.2.13:8080]
               empty: {{listen: [203.0.113.10:99, 203.0.113.10:99/udp], backends: []}}"
        ),
    );
    for from in [&lab.client, &lab.balancer] {
        assert_eq!(from.tcp_shares(400, "203.0.113.10:80"), lab.even(100));
        assert_eq!(from.tcp_shares(400, "[2001:db8::10]:80"), lab.even(100));
        assert_eq!(Shares::of(&from.udp_times(40, "203.0.113.10:53")), lab.even(10));
        for period in from.tcp_times(40, "203.0.113.10:81").chunks(8) {
            assert_eq!(Shares::of(period), Shares::from([("b1", 5), ("b2", 2), ("b3", 1)]));
        }
    }
    let chance = lab.client.tcp_shares(1000, "203.0.113.10:82");
    assert!(chance.fit(&[("b1", 1), ("b2", 1), ("b3", 1), ("b4", 1)]), "{chance}");
    let uneven = lab.client.tcp_shares(1000, "203.0.113.10:83");
    assert!(uneven.fit(&[("b1", 5), ("b2", 2), ("b3", 1)]), "{uneven}");
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert_eq!(lab.client.tcp("203.0.113.10:99").unwrap_err().kind(), refused);
    assert_eq!(lab.client.udp("203.0.113.10:99").unwrap_err().kind(), refused);
}
