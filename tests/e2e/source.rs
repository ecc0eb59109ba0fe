//! `source`: the client address that backends see.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_testkit::{Lab, eventually};

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
    // The backend and port for which the service masquerades, and foreign translations.
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

const BOTH: [[&str; 3]; 2] =
    [["203.0.113.10", "10.0.2.1", "10.0.2"], ["[2001:db8::10]", "fd00:2::1", "fd00:2:"]];

/// TCP and UDP, both IP versions, two backends, with this source.
fn both(source: &str) -> String {
    format!(
        "services:
           v4:
             listen: ['203.0.113.10:80', '203.0.113.10:53/udp', '203.0.113.10:1000-1009']
             source: {source}
             backends: ['10.0.2.11:8080', '10.0.2.12:8080']
           v6:
             listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp', '[2001:db8::10]:1000-1009']
             source: {source}
             backends: ['[fd00:2::11]:8080', '[fd00:2::12]:8080']
           any: {{listen: '*:7000', source: {source}, backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']}}"
    )
}

/// The client's address is preserved if answers pass the balancer, and masqueraded otherwise: for a client
/// in the network of the backends, and for a backend that connects to its own service, even if it gets itself.
#[track_caller]
fn keeps_all_but_the_hairpin(source: &str) {
    let lab = Lab::new();
    let _daemon = lab.start(&both(source));
    for [vip, balancer, _] in BOTH {
        for to in [":80", ":1003"] {
            let seen = lab.client.tcp(&format!("{vip}{to}")).unwrap().peer.ip();
            assert!(lab.client.addresses().contains(&seen), "{seen} is not the client's");
        }
        let seen = lab.client.udp(&format!("{vip}:53")).unwrap().peer.ip();
        assert!(lab.client.addresses().contains(&seen), "{seen} is not the client's");
        for host in [&lab.backends[0], &lab.backends[3]] {
            for to in [":80", ":80", ":1003", ":1004"] {
                let seen = host.tcp(&format!("{vip}{to}")).unwrap().peer.ip();
                assert_eq!(seen.to_string(), balancer, "{} to {vip}{to}", host.name());
            }
            for _ in 0..2 {
                let seen = host.udp(&format!("{vip}:53")).unwrap().peer.ip();
                assert_eq!(seen.to_string(), balancer, "{} to {vip}:53", host.name());
            }
        }
        lab.balancer.tcp(&format!("{vip}:80")).unwrap();
        lab.balancer.udp(&format!("{vip}:53")).unwrap();
    }
    for (own, balancer) in [("10.0.2.1:7000", "10.0.2.1"), ("[fd00:2::1]:7000", "fd00:2::1")] {
        assert_eq!(lab.backends[0].tcp(own).unwrap().peer.ip().to_string(), balancer);
        let seen = lab.client.tcp(&own.replace("10.0.2.1", "10.0.1.1").replace("fd00:2", "fd00:1")).unwrap();
        assert!(lab.client.addresses().contains(&seen.peer.ip()), "{seen:?}");
    }
}

#[test]
fn auto_masquerades_only_clients_that_would_be_answered_directly() {
    keeps_all_but_the_hairpin("auto");
}

#[test]
fn preserve_masquerades_only_the_hairpin() {
    keeps_all_but_the_hairpin("preserve");
}

#[test]
fn hairpin_follows_addresses_that_come_and_go() {
    let lab = Lab::new();
    let _daemon = lab.start(&both("auto"));
    // Another network on the link of the backends.
    lab.balancer.ip("addr add 10.9.0.1/24 dev eth1");
    lab.backends[3].ip("addr add 10.9.0.14/24 dev eth0");
    let seen =
        || lab.backends[3].tcp_from("10.9.0.14:0", "203.0.113.10:80").ok().map(|it| it.peer.ip().to_string());
    eventually("the new network is known", || (seen()? == "10.0.2.1").then_some(()));
    let known = || lab.balancer.sh("nft list set inet sluice on-link4").contains("10.9.0.0/24");
    assert!(known());
    lab.balancer.ip("addr del 10.9.0.1/24 dev eth1");
    eventually("the old network is forgotten", || (!known()).then_some(()));
}

#[test]
fn client_has_the_same_address_of_a_range_and_its_own_port_with_kept_ports() {
    let lab = Lab::new();
    lab.balancer.ip("addr add 10.0.2.2/24 dev eth1\naddr add 10.0.2.3/24 dev eth1");
    lab.balancer.ip("addr add fd00:2::3/64 dev eth1 nodad");
    let _daemon = lab.start(
        "services:
           v4:
             listen: ['203.0.113.10:80', '203.0.113.10:53/udp', '203.0.113.10:1000-1009']
             source: 10.0.2.2-10.0.2.3
             source_ports: keep
             backends: ['10.0.2.11:8080', '10.0.2.12:8080']
           v6:
             listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp', '[2001:db8::10]:1000-1009']
             source: fd00:2::3
             source_ports: keep
             backends: ['[fd00:2::11]:8080']",
    );
    // Each flow to a backend has a port of its own: TCP connections from one port would have the same tuple.
    let peers = |client: &str, vip: &str, ports: [u16; 3]| -> Vec<SocketAddr> {
        let [exact, range, udp] = ports.map(|port| format!("{client}:{port}"));
        vec![
            lab.client.tcp_from(&exact, &format!("{vip}:80")).unwrap().peer,
            lab.client.tcp_from(&range, &format!("{vip}:1005")).unwrap().peer,
            lab.client.udp_from(&udp, &format!("{vip}:53")).unwrap().peer,
        ]
    };
    let mut addresses = BTreeSet::new();
    for n in 1..40 {
        let ports = [5000 + n, 6000 + n, 5000 + n];
        let seen = peers(&format!("198.51.100.{n}"), "203.0.113.10", ports);
        let address = seen[0].ip();
        addresses.insert(address.to_string());
        assert_eq!(seen, ports.map(|port| SocketAddr::new(address, port)), "client {n}");
    }
    assert_eq!(addresses.into_iter().collect::<Vec<_>>(), ["10.0.2.2", "10.0.2.3"]);
    let seen = peers("[2001:db8:c::7]", "[2001:db8::10]", [4000, 4001, 4002]);
    assert_eq!(seen, [4000, 4001, 4002].map(|port| SocketAddr::new("fd00:2::3".parse().unwrap(), port)));

    // Two clients with one port: the second gets another.
    let taken = lab.client.open_from("198.51.100.1:7000", "203.0.113.10:1005").unwrap();
    for n in 2..12 {
        let other = lab.client.open_from(&format!("198.51.100.{n}:7000"), "203.0.113.10:1005").unwrap();
        assert!((other.answer.peer, &other.answer.backend) != (taken.answer.peer, &taken.answer.backend));
    }
    let told = lab.sluice(&["explain", "198.51.100.1:7000", "203.0.113.10:1005"]).expect(0).stdout;
    assert!(told.contains("with the client's port, if it is free"), "{told}");
}

#[test]
fn source_of_addresses_is_one_of_them() {
    let lab = Lab::new();
    for last in 2..=4 {
        lab.balancer
            .ip(&format!("addr add 10.0.2.{last}/24 dev eth1\naddr add fd00:2::{last}/64 dev eth1 nodad"));
    }
    let mut daemon = lab.start(
        "services:
           v4:
             listen: ['203.0.113.10:80', '203.0.113.10:53/udp', '203.0.113.10:1000-1009']
             source: 10.0.2.2-10.0.2.4
             backends: ['10.0.2.11:8080']
           v6:
             listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp', '[2001:db8::10]:1000-1009']
             source: fd00:2::3
             backends: ['[fd00:2::11]:8080']
           masked: {listen: '203.0.113.10:81', backends: ['10.0.2.11:8080']}",
    );
    let mut seen = BTreeSet::new();
    for n in 1..60 {
        for to in ["203.0.113.10:80", "203.0.113.10:1005"] {
            seen.insert(lab.client.tcp_from(&format!("198.51.100.{n}:0"), to).unwrap().peer.ip().to_string());
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["10.0.2.2", "10.0.2.3", "10.0.2.4"]);
    assert_eq!(lab.client.tcp("[2001:db8::10]:80").unwrap().peer.ip().to_string(), "fd00:2::3");
    assert_eq!(lab.client.udp("[2001:db8::10]:53").unwrap().peer.ip().to_string(), "fd00:2::3");
    assert_eq!(lab.client.tcp("[2001:db8::10]:1000").unwrap().peer.ip().to_string(), "fd00:2::3");
    assert_eq!(lab.backends[1].tcp("[2001:db8::10]:80").unwrap().peer.ip().to_string(), "fd00:2::3");
    // The same backend port with another listener of the same address.
    assert_eq!(lab.client.tcp("203.0.113.10:81").unwrap().peer.ip().to_string(), "10.0.2.1");
    daemon.reload(
        "services: {v4: {listen: '203.0.113.10:80', source: 10.0.2.3, backends: ['10.0.2.11:8080']}}",
    );
    assert_eq!(lab.client.tcp("203.0.113.10:80").unwrap().peer.ip().to_string(), "10.0.2.3");
}

/// Numbers of tracked flows to one backend port, by the address that the backend sees.
fn flows_by_source(lab: &Lab) -> std::collections::BTreeMap<String, usize> {
    let mut flows = std::collections::BTreeMap::new();
    for line in lab.balancer.sh("conntrack -L -p udp --orig-port-dst 53 2> /dev/null").lines() {
        // The second dst= is that of the reply: the address that the backend sees.
        let seen = line.split_whitespace().filter_map(|word| word.strip_prefix("dst=")).nth(1);
        *flows.entry(seen.expect("an answer's direction").to_owned()).or_default() += 1;
    }
    flows
}

#[test]
fn more_flows_than_an_address_has_ports_take_two_addresses() {
    const PORTS: usize = 64_512;
    const FLOWS: usize = 250 * 300;
    let lab = Lab::new();
    lab.balancer.ip("addr add 10.0.2.2/24 dev eth1");
    // There is no answer, so the entries stay for the timeout of unanswered flows.
    lab.balancer.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600");
    let yaml = |source| {
        format!(
            "services: {{dns: {{listen: '203.0.113.10:53/udp', source: {source}, backends: ['10.0.2.11:9']}}}}"
        )
    };
    lab.backends[0]
        .nft("table ip silent { chain silence { type filter hook input priority 0; policy drop; };\n}");
    let send = || {
        lab.client.run(|| {
            for n in 0..FLOWS {
                let from = format!("198.51.100.{}:{}", 1 + n / 300, 20_000 + n % 300);
                let socket = std::net::UdpSocket::bind(from).expect("a socket");
                socket.send_to(b"?", "203.0.113.10:53").expect("sent");
            }
        });
    };
    let mut daemon = lab.start(&yaml("10.0.2.1"));
    send();
    let flows = flows_by_source(&lab);
    assert!(flows["10.0.2.1"] <= PORTS && flows["10.0.2.1"] > PORTS * 9 / 10, "{flows:?}");
    assert!(
        lab.sluice(&["status"])
            .expect(0)
            .stdout
            .contains(" % of source ports in use: set `source` to a range")
    );
    let told = lab.sluice(&["doctor"]).expect(3).stdout;
    assert!(told.contains("% of the source ports to it are in use"), "{told}");
    lab.balancer.sh("conntrack -F 2> /dev/null");
    daemon.reload(&yaml("10.0.2.1-10.0.2.2"));
    send();
    let flows = flows_by_source(&lab);
    assert_eq!(flows.values().sum::<usize>(), FLOWS, "{flows:?}");
    let used =
        lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["backends"][0]["source_ports"]
            .clone();
    assert!((0.5..0.65).contains(&used.as_f64().expect("a number")), "{used}");
    assert!(flows.len() == 2 && flows.values().all(|count| *count > FLOWS / 4), "{flows:?}");
}
