//! Services without backends.

use std::io::ErrorKind;

use sluice_testkit::Lab;

use crate::FOUR;

#[test]
fn service_without_backends_refuses_at_once() {
    let lab = Lab::with_backends(0);
    let _daemon = lab.start(
        "services:
           exact: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: []}
           exact6: {listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], backends: []}
           range: {listen: ['203.0.113.10:100-200', '203.0.113.10:100-200/udp'], backends: []}
           any: {listen: '*:81', interface: eth0, backends: []}",
    );
    for to in
        ["203.0.113.10:80", "[2001:db8::10]:80", "203.0.113.10:150", "203.0.113.77:81", "[2001:db8::77]:81"]
    {
        assert_eq!(lab.client.tcp(to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "tcp {to}");
    }
    for to in ["203.0.113.10:53", "[2001:db8::10]:53", "203.0.113.10:150"] {
        assert_eq!(lab.client.udp(to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "udp {to}");
    }
    for to in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        assert_eq!(lab.balancer.tcp(to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "local tcp {to}");
    }
    for to in ["203.0.113.10:53", "[2001:db8::10]:53"] {
        // The error of `send` when a local datagram is rejected at output.
        assert_eq!(lab.balancer.udp(to).unwrap_err().kind(), ErrorKind::PermissionDenied, "local udp {to}");
    }
}

#[test]
fn service_whose_backends_go_and_come_refuses_in_between() {
    let lab = Lab::new();
    let yaml = |backends| format!("services: {{web: {{listen: 203.0.113.10:80, backends: {backends}}}}}");
    let mut daemon = lab.start(&yaml(FOUR));
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), lab.even(1));
    daemon.reload(&yaml("[]"));
    assert_eq!(lab.client.tcp("203.0.113.10:80").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    daemon.reload(&yaml(FOUR));
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), lab.even(1));
}

#[test]
fn disabled_service_is_as_if_absent() {
    let lab = Lab::new();
    // Without sluice the address is elsewhere, and the balancer routes to it.
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.client.ip("addr add 203.0.113.10/32 dev lo");
    lab.client.serve_on("203.0.113.10:80");
    let yaml = |enabled| {
        format!(
            "services: {{web: {{listen: 203.0.113.10:80, enabled: {enabled}, backends: ['10.0.2.11:8080']}}}}"
        )
    };
    let mut daemon = lab.start(&yaml(false));
    assert_eq!(lab.backends[0].tcp("203.0.113.10:80").unwrap().backend, "client");
    daemon.reload(&yaml(true));
    assert_eq!(lab.backends[1].tcp("203.0.113.10:80").unwrap().backend, "b1");
}
