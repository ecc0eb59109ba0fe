//! Listeners: the connections of a service, and their backend ports.

use sluice_testkit::{Host, Lab, Shares};

/// The host that answers a TCP connection.
fn who(from: &Host, to: &str) -> String {
    from.tcp(to).unwrap_or_else(|e| panic!("{} to {to}: {e}", from.name())).backend
}

#[test]
fn wildcard_with_an_interface_takes_all_that_arrives_there_and_nothing_else() {
    let lab = Lab::new();
    let [b1, .., b4] = &lab.backends[..] else { panic!("four backends") };
    lab.client.serve_on("198.51.100.1:80");
    lab.client.serve_on("[2001:db8:c::1]:80");
    lab.balancer.serve(80);
    b4.serve(80);
    let _daemon = lab.start(
        "services:
           any: {listen: '*:80', interface: eth0, backends: ['10.0.2.11:8080']}
           any6: {listen: '*:80', interface: eth0, backends: ['[fd00:2::11]:8080']}",
    );
    for to in ["203.0.113.10:80", "10.0.1.1:80", "10.0.2.14:80", "[2001:db8::10]:80", "[fd00:2::14]:80"] {
        assert_eq!(who(&lab.client, to), "b1", "arrives at eth0: {to}");
    }
    for (from, to, answers) in [
        (b1, "10.0.1.1:80", "balancer"),
        (b1, "198.51.100.1:80", "client"),
        (b1, "[2001:db8:c::1]:80", "client"),
        (&lab.balancer, "10.0.1.1:80", "balancer"),
        (&lab.balancer, "10.0.2.14:80", "b4"),
    ] {
        assert_eq!(who(from, to), answers, "does not arrive at eth0: {} to {to}", from.name());
    }
}

#[test]
fn wildcard_without_an_interface_takes_local_addresses_only() {
    let lab = Lab::new();
    let [b1, .., b4] = &lab.backends[..] else { panic!("four backends") };
    lab.client.serve_on("198.51.100.1:80");
    lab.client.serve_on("[2001:db8:c::1]:80");
    b4.serve(80);
    lab.balancer.serve_on("127.0.0.1:80");
    let _daemon = lab.start(
        "services:
           any: {listen: ['*:80', '*:53/udp'], backends: ['10.0.2.11:8080']}
           any6: {listen: '*:81', backends: ['[fd00:2::11]:8080']}",
    );
    for (from, to) in [
        (&lab.client, "10.0.1.1:80"),
        (&lab.client, "10.0.2.1:80"),
        (&lab.client, "[fd00:1::1]:81"),
        (b4, "10.0.2.1:80"),
        (b4, "[fd00:2::1]:81"),
        (&lab.balancer, "10.0.1.1:80"),
        (&lab.balancer, "[fd00:2::1]:81"),
    ] {
        assert_eq!(who(from, to), "b1", "local address: {} to {to}", from.name());
    }
    assert_eq!(lab.client.udp("10.0.1.1:53").unwrap().backend, "b1");

    for (from, to, answers, peer) in [
        (&lab.client, "10.0.2.14:80", "b4", "10.0.1.2"),
        (b1, "198.51.100.1:80", "client", "10.0.2.11"),
        (b1, "[2001:db8:c::1]:80", "client", "fd00:2::11"),
        (&lab.balancer, "127.0.0.1:80", "balancer", "127.0.0.1"),
        (&lab.balancer, "198.51.100.1:80", "client", "10.0.1.1"),
    ] {
        let answer = from.tcp(to).unwrap();
        assert_eq!((answer.backend.as_str(), answer.peer.ip().to_string().as_str()), (answers, peer), "{to}");
    }
}

#[test]
fn exact_beats_interface_beats_wildcard_beats_range() {
    let lab = Lab::new();
    // In this order the first match would always be wrong.
    let _daemon = lab.start(
        "services:
           a-range: {listen: ['203.0.113.10:70-90', '10.0.1.1:70-90', '10.0.2.1:70-90'], backends: ['10.0.2.14:8080']}
           b-wildcard: {listen: '*:80', backends: ['10.0.2.13:8080']}
           c-interface: {listen: '*:80', interface: eth0, backends: ['10.0.2.12:8080']}
           d-exact: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080']}",
    );
    assert_eq!(who(&lab.client, "203.0.113.10:80"), "b1", "exact");
    assert_eq!(who(&lab.client, "10.0.1.1:80"), "b2", "interface");
    assert_eq!(who(&lab.backends[0], "10.0.2.1:80"), "b3", "wildcard");
    assert_eq!(who(&lab.backends[0], "10.0.2.1:81"), "b4", "range");
    assert_eq!(who(&lab.client, "203.0.113.10:81"), "b4", "range");
}

#[test]
fn port_range_reaches_the_same_port_one_port_or_the_same_offset() {
    let lab = Lab::with_backends(2);
    for port in [1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003, 8080] {
        lab.serve(port);
    }
    // The part after the backend's address in the file, and the translation of port 1001.
    let forms = [("", 1001), (":1000-1003", 1001), (":2000-2003", 2001), (":8080", 8080)];
    let schedulers = ["round-robin", "random", "source-hash"];
    // One service per case: 203.0.113.0 for the first, 2001:db8::0 for it in IPv6, and so on.
    let cases = || schedulers.iter().flat_map(|scheduler| forms.map(|form| (scheduler, form))).enumerate();
    let services: Vec<_> = cases()
        .flat_map(|(n, (scheduler, (ports, _)))| {
            [
                (format!("203.0.113.{n}"), "10.0.2.11", "10.0.2.12"),
                (format!("[2001:db8::{n:x}]"), "[fd00:2::11]", "[fd00:2::12]"),
            ]
            .map(|(vip, b1, b2)| {
                let name = if vip.starts_with('[') { format!("six-{n}") } else { format!("four-{n}") };
                format!(
                    "  {name}:
    listen: ['{vip}:1000-1003', '{vip}:1000-1003/udp']
    scheduler: {scheduler}
    backends: ['{b1}{ports}', '{b2}{ports}']"
                )
            })
        })
        .collect();
    let _daemon = lab.start(&format!("services:\n{}", services.join("\n")));
    for (n, (scheduler, (_, becomes))) in cases() {
        for vip in [format!("203.0.113.{n}"), format!("[2001:db8::{n:x}]")] {
            let to = |port| format!("{vip}:{port}");
            let answers = [lab.client.tcp_times(2, &to(1001)), lab.client.udp_times(2, &to(1001))].concat();
            assert!(answers.iter().all(|answer| answer.port == becomes), "{scheduler} {vip}: {answers:?}");
            if *scheduler == "round-robin" {
                assert_eq!(Shares::of(&answers), lab.even(2), "{vip}");
                assert!(lab.client.udp(&to(1004)).is_err(), "outside the range: {vip}");
            }
        }
    }
}

#[test]
fn wildcard_port_keeps_every_port() {
    let lab = Lab::with_backends(1);
    lab.serve(22);
    lab.serve(65535);
    let _daemon = lab.start("services: {all: {listen: '203.0.113.10:*', backends: [10.0.2.11]}}");
    for port in [22, 65535] {
        assert_eq!(lab.client.tcp(&format!("203.0.113.10:{port}")).unwrap().port, port);
    }
}
