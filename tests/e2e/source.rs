//! Whom the backends see.

use sluice_testkit::Lab;

#[test]
fn backends_see_the_balancer_under_masquerade_and_the_client_under_preserve() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services:
           masked: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: ['10.0.2.11:8080']}
           masked6: {listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], backends: ['[fd00:2::11]:8080']}
           seen:
             listen: ['203.0.113.10:81', '203.0.113.10:54/udp']
             source: preserve
             backends: ['10.0.2.11:8080']
           seen6:
             listen: ['[2001:db8::10]:81', '[2001:db8::10]:54/udp']
             source: preserve
             backends: ['[fd00:2::11]:8080']",
    );
    for (client, vip, balancer) in
        [("198.51.100.7", "203.0.113.10", "10.0.2.1"), ("[2001:db8:c::7]", "[2001:db8::10]", "[fd00:2::1]")]
    {
        for (tcp, udp, expected) in [(80, 53, balancer), (81, 54, client)] {
            let from = format!("{client}:4000");
            let answers = [
                lab.client.tcp_from(&from, &format!("{vip}:{tcp}")).unwrap(),
                lab.client.udp_from(&from, &format!("{vip}:{udp}")).unwrap(),
            ];
            for answer in answers {
                assert_eq!(answer.peer.ip().to_string(), expected.trim_matches(['[', ']']), "{answer:?}");
            }
        }
        let from = format!("{client}:4001");
        let preserved = lab.client.tcp_from(&from, &format!("{vip}:81")).unwrap();
        assert_eq!(preserved.peer.to_string(), from, "the port as well");
    }
}

#[test]
fn other_traffic_through_the_balancer_is_never_masqueraded() {
    let lab = Lab::new();
    lab.client.serve(9999);
    lab.client.serve_on("198.51.100.1:80");
    // The very backend and port that the service masquerades, and translations that are not ours.
    lab.balancer.nft(
        "table ip other {
           chain prerouting {
             type nat hook prerouting priority dstnat - 5
             ip daddr 203.0.113.99 tcp dport 80 dnat to 10.0.2.11:8080
           }
         }",
    );
    let _daemon = lab.start(
        "services:
           web: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080']}
           any: {listen: '*:80', interface: eth0, backends: ['10.0.2.12:8080']}
           range: {listen: '203.0.113.10:100-200', backends: ['10.0.2.11:8080']}",
    );
    assert_eq!(lab.client.tcp("203.0.113.10:80").unwrap().peer.ip().to_string(), "10.0.2.1", "a service");
    let [b1, ..] = &lab.backends[..] else { panic!("four backends") };
    for (from, to, peer) in [
        (&lab.client, "10.0.2.11:8080", "10.0.1.2"),
        (&lab.client, "203.0.113.99:80", "10.0.1.2"),
        (b1, "10.0.1.2:9999", "10.0.2.11"),
        (b1, "198.51.100.1:80", "10.0.2.11"),
        (&lab.balancer, "198.51.100.1:80", "10.0.1.1"),
    ] {
        assert_eq!(from.tcp(to).unwrap().peer.ip().to_string(), peer, "{} to {to}", from.name());
    }
    for (from, to, peer) in [(&lab.client, "10.0.2.11:8080", "10.0.1.2"), (b1, "10.0.1.2:9999", "10.0.2.11")]
    {
        assert_eq!(from.udp(to).unwrap().peer.ip().to_string(), peer, "udp, {} to {to}", from.name());
    }
}
