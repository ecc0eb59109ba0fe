//! The lab works without sluice: what its tests conclude is then about sluice.

use std::io::ErrorKind;
use std::process::Command;

use sluice_testkit::{Lab, Monitor, Namespace, Shares, eventually};

/// The recipe, corrected, by hand.
const RECIPE: &str = "
table inet recipe {
    map slots4 { typeof numgen inc mod 4 : ip daddr . th dport
        elements = { 0 : 10.0.2.11 . 8080, 1 : 10.0.2.12 . 8080, 2 : 10.0.2.13 . 8080, 3 : 10.0.2.14 . 8080 } }
    map slots6 { typeof numgen inc mod 4 : ip6 daddr . th dport
        elements = { 0 : fd00:2::11 . 8080, 1 : fd00:2::12 . 8080, 2 : fd00:2::13 . 8080, 3 : fd00:2::14 . 8080 } }
    chain pick {
        ip daddr 203.0.113.10 meta l4proto tcp dnat ip to numgen inc mod 4 map @slots4
        ip daddr 203.0.113.10 meta l4proto udp dnat ip to numgen inc mod 4 map @slots4
        ip6 daddr 2001:db8::10 meta l4proto tcp dnat ip6 to numgen inc mod 4 map @slots6
        ip6 daddr 2001:db8::10 meta l4proto udp dnat ip6 to numgen inc mod 4 map @slots6
    }
    chain prerouting { type nat hook prerouting priority dstnat; th dport 80 goto pick; }
    chain output { type nat hook output priority -100; th dport 80 goto pick; }
}";

fn by_hand() -> Lab {
    let lab = Lab::new();
    lab.balancer.nft(RECIPE);
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.balancer.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    lab
}

#[test]
fn lab_balanced_by_hand_shares_exactly() {
    let lab = by_hand();
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        assert_eq!(lab.client.tcp_shares(400, vip), lab.even(100), "tcp {vip}");
        assert_eq!(Shares::of(&lab.client.udp_times(40, vip)), lab.even(10), "udp {vip}");
        assert_eq!(lab.balancer.tcp_shares(40, vip), lab.even(10), "tcp from the balancer, {vip}");
    }
}

#[test]
fn client_of_the_lab_connects_from_any_of_its_addresses() {
    let lab = by_hand();
    for (from, to) in
        [("198.51.100.7:4007", "203.0.113.10:80"), ("[2001:db8:c::7]:4007", "[2001:db8::10]:80")]
    {
        assert_eq!(lab.client.tcp_from(from, to).unwrap().peer.to_string(), from);
        assert_eq!(lab.client.udp_from(from, to).unwrap().peer.to_string(), from);
    }
}

#[test]
fn conversation_with_a_backend_that_falls_silent_ends() {
    let lab = by_hand();
    let mut conversation = lab.client.open("203.0.113.10:80").unwrap();
    assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
    lab.backends[0].silence();
    eventually("the conversation ends", || conversation.echo("and now?").err());
}

#[test]
fn service_that_nobody_translates_is_refused() {
    let lab = by_hand();
    for (to, kind) in
        [("203.0.113.10:81", ErrorKind::HostUnreachable), ("[2001:db8::10]:81", ErrorKind::PermissionDenied)]
    {
        assert_eq!(lab.client.udp(to).unwrap_err().kind(), kind, "{to}");
    }
}

#[test]
fn lab_without_forwarding_connects_nobody() {
    let lab = by_hand();
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "0");
    assert!(lab.client.udp("203.0.113.10:80").is_err());
}

#[test]
fn namespace_after_its_end_leaves_the_thread_at_home() {
    let links = || Command::new("ip").arg("link").output().unwrap().stdout;
    let before = links();
    let namespace = Namespace::new();
    namespace.ip("link add only-here type bridge");
    assert!(namespace.sh("ip link").contains("only-here"));
    let panicked = std::panic::catch_unwind(|| Namespace::new().run(|| panic!("inside")));
    assert!(panicked.is_err());
    assert_eq!(links(), before);
}

#[test]
fn monitor_tells_what_others_change_and_nothing_else() {
    let lab = Lab::with_backends(0);
    let mut monitor = Monitor::start(&lab);
    assert_eq!(monitor.changes(), "");
    lab.balancer.sh("nft 'add table inet other; add chain inet other empty'");
    assert_eq!(monitor.changes(), "add table inet other\nadd chain inet other empty");
    assert_eq!(monitor.changes(), "");
}
