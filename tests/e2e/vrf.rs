//! Interfaces in a VRF. Kernels without VRFs cannot run these tests; `make kernels` runs them where possible.

use sluice_testkit::{Lab, Shares};

/// A lab with the balancer's interfaces and all of its routes in a VRF.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.balancer.sh("modprobe vrf");
    lab.balancer.ip(
        "link add blue type vrf table 10\nlink set blue up\nlink set eth0 master blue\nlink set eth1 master blue\n\
         addr replace fd00:1::1/64 dev eth0 nodad\naddr replace fd00:2::1/64 dev eth1 nodad\n\
         route replace default via 10.0.1.2 table 10\nroute replace default via fd00:1::2 table 10",
    );
    lab
}

#[test]
#[ignore = "takes a kernel with VRFs"]
fn services_in_a_vrf_serve_clients_and_backends() {
    let lab = lab();
    let daemon = lab.start(
        "services:
           web: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: ['10.0.2.11:8080', '10.0.2.12:8080']}
           web6: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::11]:8080', '[fd00:2::12]:8080']}
           wan: {listen: '*:81', interface: eth0, backends: ['10.0.2.13:8080', '[fd00:2::13]:8080']}
           kept: {listen: '203.0.113.10:82', source: preserve, backends: ['10.0.2.11:8080']}
           auto: {listen: '203.0.113.10:83', source: auto, backends: ['10.0.2.11:8080']}",
    );
    let both = Shares::from([("b1", 5), ("b2", 5)]);
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        assert_eq!(lab.client.tcp_shares(10, vip), both, "{vip}");
        assert_eq!(lab.backends[0].tcp_shares(10, vip), both, "{vip} from a backend");
    }
    assert_eq!(Shares::of(&lab.client.udp_times(10, "203.0.113.10:53")), both);
    for vip in ["203.0.113.77:81", "[2001:db8::77]:81"] {
        assert_eq!(lab.client.tcp(vip).expect("an answer").backend, "b3", "{vip}");
    }
    for port in [82, 83] {
        let vip = format!("203.0.113.10:{port}");
        let seen = |host: &sluice_testkit::Host| host.tcp(&vip).expect("an answer").peer.ip().to_string();
        assert_eq!(seen(&lab.client), "10.0.1.2", "{vip}");
        assert_eq!(seen(&lab.backends[1]), "10.0.2.1", "{vip} from beside the backend");
    }
    assert!(daemon.stop().success());
    // If the namespace were deleted first, the kernel would try to take interfaces of the VRF down and up, and warn.
    lab.balancer.ip("link set eth0 down\nlink set eth1 down\nlink del blue");
}
