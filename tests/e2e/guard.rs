//! `allow`, `deny`, limits and `invalid`.

use std::io::ErrorKind;
use std::net::SocketAddr;

use sluice_testkit::{Lab, eventually};

const LISTENERS: &str = "203.0.113.10:80, 203.0.113.10:53/udp, '[2001:db8::10]:80', '[2001:db8::10]:53/udp'";
const BACKENDS: &str = "10.0.2.11:8080, '[fd00:2::11]:8080'";

/// Addresses of the client's networks that are denied or not allowed below, and two that are admitted.
const OUT: [&str; 2] = ["198.51.100.66", "2001:db8:c::66"];
const IN: [&str; 2] = ["198.51.100.7", "2001:db8:c::7"];

fn guarded(keys: &str) -> String {
    format!("services: {{web: {{listen: [{LISTENERS}], backends: [{BACKENDS}], {keys}}}}}")
}

/// An address with any port.
fn from(address: &str) -> String {
    SocketAddr::new(address.parse().expect("an address"), 0).to_string()
}

/// Number of packets dropped for a reason so far.
fn dropped(lab: &Lab, reason: &str) -> u64 {
    lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["dropped"][reason].as_u64().unwrap_or(0)
}

#[track_caller]
fn is_dropped(result: std::io::Result<impl std::fmt::Debug>) {
    let kind = result.expect_err("no answer").kind();
    assert!(
        matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::PermissionDenied),
        "{kind}"
    );
}

/// Checks for both IP versions and both protocols that refused clients get no answer and are counted, and others get one.
fn keeps_out(keys: &str, reason: &str) {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded(keys));
    for (vip, (out, inside)) in ["203.0.113.10", "[2001:db8::10]"].iter().zip(OUT.iter().zip(IN)) {
        lab.client.tcp_from(&from(inside), &format!("{vip}:80")).expect("an answer");
        lab.client.udp_from(&from(inside), &format!("{vip}:53")).expect("an answer");
        let before = dropped(&lab, reason);
        is_dropped(lab.client.tcp_from(&from(out), &format!("{vip}:80")));
        is_dropped(lab.client.udp_from(&from(out), &format!("{vip}:53")));
        assert!(dropped(&lab, reason) >= before + 2);
    }
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains(&format!(" {reason}\n")), "{told}");
}

#[test]
fn client_that_is_denied_gets_no_answer_and_is_counted() {
    keeps_out("deny: [198.51.100.64/26, '2001:db8:c::66']", "denied");
}

#[test]
fn client_in_one_of_networks_of_many_sizes_gets_no_answer_and_is_counted() {
    let other = |n: u8| format!("10.{n}.0.0/{}, '2001:db8:{n}00::/{}'", 16 + n, 40 + n);
    let others: Vec<_> = (1..8).map(other).collect();
    keeps_out(&format!("deny: [198.51.100.64/26, '2001:db8:c::66', {}]", others.join(", ")), "denied");
}

#[test]
fn drops_of_a_list_that_left_the_file_are_not_told_any_more() {
    let lab = Lab::new();
    let mut daemon = lab.start(&guarded("deny: [198.51.100.66]"));
    is_dropped(lab.client.tcp_from(&from("198.51.100.66"), "203.0.113.10:80"));
    assert!(dropped(&lab, "denied") > 0);
    daemon.reload(&guarded("limits: {new_connections: 1000/second}"));
    lab.client.tcp_from(&from("198.51.100.66"), "203.0.113.10:80").expect("an answer");
    assert_eq!(dropped(&lab, "denied"), 0);
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(!told.contains("dropped:"), "{told}");
}

#[test]
fn client_that_is_not_allowed_gets_no_answer_and_is_counted() {
    keeps_out("allow: [198.51.100.0/26, '2001:db8:c::/122']", "not-allowed");
}

#[test]
fn client_above_its_rate_gets_no_answer_and_others_do() {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded("limits: {new_connections_per_client: 1/hour burst 3}"));
    for (vip, [one, other]) in [
        ("203.0.113.10:80", ["198.51.100.1", "198.51.100.2"]),
        ("[2001:db8::10]:80", ["2001:db8:c::1", "2001:db8:c::2"]),
    ] {
        (0..3).for_each(|_| drop(lab.client.tcp_from(&from(one), vip).expect("an answer")));
        is_dropped(lab.client.tcp_from(&from(one), vip));
        lab.client.tcp_from(&from(other), vip).expect("an answer");
    }
    for (vip, [one, other]) in [
        ("203.0.113.10:53", ["198.51.100.3", "198.51.100.4"]),
        ("[2001:db8::10]:53", ["2001:db8:c::3", "2001:db8:c::4"]),
    ] {
        (0..3).for_each(|_| drop(lab.client.udp_from(&from(one), vip).expect("an answer")));
        is_dropped(lab.client.udp_from(&from(one), vip));
        lab.client.udp_from(&from(other), vip).expect("an answer");
    }
    assert!(dropped(&lab, "client-rate") >= 4);
}

#[test]
fn client_with_as_many_connections_as_it_may_have_gets_another_when_one_ends() {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded("limits: {connections_per_client: 3}"));
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        let mut open: Vec<_> = (0..3).map(|_| lab.client.open(vip).expect("a connection")).collect();
        is_dropped(lab.client.tcp(vip));
        assert!(dropped(&lab, "client-connections") > 0);
        // Other clients have their own limit.
        let other = if vip.starts_with('[') { IN[1] } else { IN[0] };
        lab.client.tcp_from(&from(other), vip).expect("an answer");
        open.iter_mut().for_each(|one| assert_eq!(one.echo("still here").expect("an echo"), "still here"));
        open.clear();
        eventually("there is room for another", || lab.client.tcp(vip).ok());
    }
}

/// For all kinds of listeners, both protocols and both IP versions.
#[test]
fn limits_of_a_service_hold_for_all_its_listeners_together() {
    let lab = Lab::new();
    let mut daemon = lab.start(&guarded("limits: {new_connections: 1/hour burst 4}"));
    lab.client.tcp("203.0.113.10:80").expect("an answer");
    lab.client.udp("203.0.113.10:53").expect("an answer");
    lab.client.tcp("[2001:db8::10]:80").expect("an answer");
    lab.client.udp("[2001:db8::10]:53").expect("an answer");
    is_dropped(lab.client.tcp("[2001:db8::10]:80"));
    is_dropped(lab.client.udp("203.0.113.10:53"));
    assert!(dropped(&lab, "rate") >= 2);
    daemon.reload(&guarded("limits: {connections_per_client: 2}"));
    let _open: Vec<_> = (0..2).map(|_| lab.client.open("203.0.113.10:80").expect("a connection")).collect();
    is_dropped(lab.client.udp("203.0.113.10:53"));
    lab.client.udp("[2001:db8::10]:53").expect("another address is another client");
    let listed = lab.balancer.sh("nft list ruleset");
    assert!(listed.contains("add @client-connections4-2-65536/web { ip saddr ct count over 2 }"), "{listed}");
}

#[test]
fn service_above_its_rate_drops_new_flows_and_keeps_established_ones() {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded("limits: {new_connections: 1/hour burst 4}"));
    let mut open: Vec<_> =
        (0..4).map(|_| lab.client.open("203.0.113.10:80").expect("a connection")).collect();
    is_dropped(lab.client.tcp_from(&from(IN[0]), "203.0.113.10:80"));
    assert!(dropped(&lab, "rate") > 0);
    open.iter_mut().for_each(|one| assert_eq!(one.echo("still here").expect("an echo"), "still here"));
}

#[test]
fn client_that_there_is_no_room_for_fails_as_configured() {
    let lab = Lab::new();
    let limits = |on_full: &str| {
        guarded(&format!(
            "limits: {{new_connections_per_client: 1/hour burst 100, clients: 1, on_full: {on_full}}}"
        ))
    };
    let vip = "203.0.113.10:80";
    let mut daemon = lab.start(&limits("accept"));
    (1..9).for_each(|n| drop(lab.client.tcp_from(&format!("198.51.100.{n}:0"), vip).expect("an answer")));
    assert!(dropped(&lab, "clients-full") > 0);
    daemon.reload(&limits("drop"));
    let answers: Vec<_> =
        (1..4).map(|n| lab.client.tcp_from(&format!("198.51.100.{n}:0"), vip).is_ok()).collect();
    assert!(answers.contains(&false), "{answers:?}");
}

#[test]
fn local_client_and_a_backend_are_guarded_too() {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded("deny: [10.0.0.0/8, 'fd00::/16']"));
    for vip in ["203.0.113.10", "[2001:db8::10]"] {
        let (tcp, udp) = (format!("{vip}:80"), format!("{vip}:53"));
        is_dropped(lab.balancer.tcp(&tcp));
        is_dropped(lab.balancer.udp(&udp));
        is_dropped(lab.backends[0].tcp(&tcp));
        is_dropped(lab.backends[0].udp(&udp));
    }
}

#[test]
fn packets_of_no_connection_are_dropped_and_counted() {
    let lab = Lab::new();
    let _daemon = lab.start(&guarded("invalid: drop"));
    let mut open: Vec<_> = ["203.0.113.10:80", "[2001:db8::10]:80"]
        .iter()
        .map(|vip| lab.client.open(vip).expect("a connection"))
        .collect();
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        // No flags, all flags, and the contradictory pair.
        for flags in [0, 0x3f, 0x03, 0x06] {
            let before = dropped(&lab, "invalid");
            lab.client.send_segment(4000, vip, flags);
            eventually("it is counted", || (dropped(&lab, "invalid") > before).then_some(()));
        }
    }
    // An unsolicited packet of a backend.
    let before = dropped(&lab, "invalid");
    lab.backends[0].send_segment(8080, "198.51.100.7:4000", 0x3f);
    eventually("it is counted", || (dropped(&lab, "invalid") > before).then_some(()));
    open.iter_mut().for_each(|one| assert_eq!(one.echo("still here").expect("an echo"), "still here"));
}

#[test]
fn other_traffic_of_the_host_meets_no_guard() {
    let lab = Lab::new();
    lab.client.serve(9999);
    lab.balancer.serve(7999);
    // A foreign translation to the same backend and port as the service.
    lab.balancer.nft(
        "table ip other {
           chain prerouting {
             type nat hook prerouting priority dstnat - 5
             ip daddr 203.0.113.99 tcp dport 80 dnat to 10.0.2.11:8080
           }
         }",
    );
    let _daemon = lab.start(&guarded(
        "allow: [192.0.2.0/24, '2001:db8:900d::/48'], limits: {new_connections: 1/hour burst 1, connections_per_client: 1}",
    ));
    is_dropped(lab.client.tcp("203.0.113.10:80"));
    for _ in 0..3 {
        assert_eq!(
            lab.client.tcp("203.0.113.99:80").expect("an answer").backend,
            "b1",
            "translated by others"
        );
        assert_eq!(lab.client.tcp("10.0.2.11:8080").expect("an answer").backend, "b1", "forwarded");
        assert_eq!(
            lab.backends[0].tcp("10.0.1.2:9999").expect("an answer").backend,
            "client",
            "forwarded back"
        );
        assert_eq!(lab.client.tcp("10.0.1.1:7999").expect("an answer").backend, "balancer", "local");
        assert_eq!(lab.client.tcp("[fd00:1::1]:7999").expect("an answer").backend, "balancer", "local");
        assert_eq!(lab.balancer.tcp("10.0.2.12:8080").expect("an answer").backend, "b2", "from the balancer");
    }
    // An invalid packet that is not for a service.
    let before = dropped(&lab, "invalid");
    lab.client.send_segment(4000, "10.0.2.12:8080", 0x3f);
    lab.client.send_segment(4001, "203.0.113.10:80", 0x3f);
    eventually("the one of the service is counted", || (dropped(&lab, "invalid") > before).then_some(()));
    assert_eq!(dropped(&lab, "invalid"), before + 1);
}
