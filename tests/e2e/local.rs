//! The balancer itself as client and as backend.

use sluice_testkit::{Lab, Shares};

use crate::{FOUR, FOUR6};

#[test]
fn clients_on_the_balancer_are_balanced_too() {
    let lab = Lab::new();
    let _daemon = lab.start(&format!(
        "services:
           web: {{listen: [203.0.113.10:80, 203.0.113.10:53/udp], backends: {FOUR}}}
           web6: {{listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], backends: {FOUR6}}}"
    ));
    for (tcp, udp) in [("203.0.113.10:80", "203.0.113.10:53"), ("[2001:db8::10]:80", "[2001:db8::10]:53")] {
        assert_eq!(lab.balancer.tcp_shares(40, tcp), lab.even(10), "{tcp}");
        assert_eq!(Shares::of(&lab.balancer.udp_times(40, udp)), lab.even(10), "{udp}");
    }
}

#[test]
fn service_on_an_address_of_the_balancer_answers_inside_and_outside() {
    let lab = Lab::new();
    lab.balancer.ip("addr add 203.0.113.10/32 dev lo\naddr add 2001:db8::10/128 dev lo nodad");
    let _daemon = lab.start(&format!(
        "services:
           web: {{listen: 203.0.113.10:80, backends: {FOUR}}}
           web6: {{listen: '[2001:db8::10]:80', backends: {FOUR6}}}"
    ));
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        assert_eq!(lab.client.tcp_shares(40, vip), lab.even(10), "outside: {vip}");
        assert_eq!(lab.balancer.tcp_shares(40, vip), lab.even(10), "inside: {vip}");
    }
}

#[test]
fn backend_on_the_balancer_gets_its_share() {
    let lab = Lab::new();
    lab.balancer.serve(8080);
    let _daemon = lab.start(
        "services:
           web: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: ['10.0.1.1:8080', '10.0.2.11:8080']}
           web6: {listen: '[2001:db8::10]:80', backends: ['[fd00:1::1]:8080', '[fd00:2::11]:8080']}",
    );
    let half = Shares::from([("balancer", 10), ("b1", 10)]);
    assert_eq!(lab.client.tcp_shares(20, "203.0.113.10:80"), half);
    assert_eq!(lab.client.tcp_shares(20, "[2001:db8::10]:80"), half);
    assert_eq!(Shares::of(&lab.client.udp_times(20, "203.0.113.10:53")), half);
    assert_eq!(lab.balancer.tcp_shares(20, "203.0.113.10:80"), half, "from the balancer to itself");
}
