//! Laws for packets that backends send of connections that conntrack does not know.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use common::strategy::any_services;
use common::trial::{host, states, takes};
use common::{Services, service, services};
use proptest::prelude::*;
use sluice_core::model::{BackendPort, Listener, Midstream, Ports, Protocol, Service, Source, SourcePorts};
use sluice_core::render::render;
use sluice_nft::trace::{Host, Outcome, Packet, Tracer};
use sluice_nft::{Ip, Table};

const UNTRANSLATED: Outcome = Outcome::Untranslated { masqueraded: false };

/// Each backend of a service that adopts connections, with the listener that leads to it.
fn served(services: &Services) -> Vec<(&Service, Listener, IpAddr, Ports)> {
    let mut served = vec![];
    for service in services.values().filter(|it| it.enabled && it.midstream == Midstream::Adopt) {
        for listener in service.listeners.iter().filter(|listener| listener.protocol == Protocol::Tcp) {
            let of_version = |address| service.takes(listener, Ip::of(address));
            for backend in service.backends.iter().filter(|backend| of_version(backend.address)) {
                let ports = match backend.port {
                    BackendPort::Keep => listener.ports,
                    BackendPort::One(port) => Ports::single(port),
                    BackendPort::Range(ports) => ports,
                };
                served.push((service, *listener, backend.address, ports));
            }
        }
    }
    served
}

/// What the configuration says about a packet of a backend; `None` if a listener takes it.
fn expected(services: &Services, packet: &Packet) -> Option<Outcome> {
    let (from, to) = (packet.source, packet.destination.ip());
    let of_backend = served(services).into_iter().filter(|(_, _, address, ports)| {
        *address == from.ip() && ports.contains(from.port()) && ports.count() <= 4096
    });
    let mut listeners = BTreeSet::new();
    for (service, listener, ..) in of_backend {
        match service.source {
            Source::Addresses(first, last, SourcePorts::Keep) if first <= to && to <= last => {
                return Some(Outcome::Dropped);
            }
            Source::Preserve | Source::Auto => drop(listeners.insert((listener, &service.interface))),
            Source::Masquerade | Source::Addresses(..) => {}
        }
    }
    if services.values().any(|service| takes(service, packet)) {
        return None;
    }
    let exact = |(listener, _): &(Listener, _)| listener.exact();
    Some(match (listeners.len(), listeners.first().and_then(exact)) {
        (0, _) => UNTRANSLATED,
        _ if host().local.contains(&to) => UNTRANSLATED,
        (1, Some(listener)) => Outcome::Answered { from: listener.into() },
        _ => Outcome::Dropped,
    })
}

/// Packets from backends, and from another port of them, to a client, to this host and to the addresses of sources.
fn packets(services: &Services) -> Vec<Packet> {
    let backends = services.values().flat_map(|service| {
        let ports = service.listeners.iter().flat_map(|listener| [listener.ports.first, listener.ports.last]);
        let ports = ports.chain([8080, 2000, 7]);
        ports.flat_map(|port| service.backends.iter().map(move |it| SocketAddr::new(it.address, port)))
    });
    let backends: BTreeSet<_> = backends.collect();
    let packets = backends.into_iter().flat_map(|from| {
        let to = match Ip::of(from.ip()) {
            Ip::V4 => &["192.0.2.7", "10.0.1.1", "10.0.2.1", "10.0.2.2"][..],
            Ip::V6 => &["2001:db8:7::7", "fd00::1"],
        };
        to.iter().map(move |to| {
            let to = SocketAddr::new(to.parse().unwrap(), 4242);
            Packet::arriving(Protocol::Tcp, from, to).midstream()
        })
    });
    packets.collect()
}

fn trace(table: &Table, packet: &Packet) -> Outcome {
    Tracer::new(host()).trace(table, packet).outcome
}

proptest! {
    #[test]
    fn answer_of_an_unknown_connection_leaves_in_the_name_of_the_only_listener_or_waits(services in any_services()) {
        let table = render(&services, None).table;
        for packet in packets(&services) {
            if let Some(expected) = expected(&services, &packet) {
                prop_assert_eq!(trace(&table, &packet), expected, "{:?}", packet);
            }
            let Some(expected) = expected(&Services::new(), &packet) else { continue };
            let opening = Packet { flags: sluice_nft::Field::SYN, ..packet };
            if services.values().all(|service| !takes(service, &opening)) {
                prop_assert_eq!(trace(&table, &opening), expected, "{:?}", opening);
            }
        }
    }
}

proptest! {
    // Each case runs some thousand packets.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn answer_of_an_unknown_connection_meets_nothing_else_during_any_change(
        before in any_services(),
        after in any_services(),
    ) {
        let first = render(&before, None).table;
        let (states, ..) = states(&first, &after);
        let packets: Vec<_> = packets(&before).into_iter().chain(packets(&after)).collect();
        for packet in packets {
            let ends = [&before, &after].map(|services| expected(services, &packet));
            let [Some(was), Some(is)] = ends else { continue };
            if was != is {
                continue;
            }
            for pair in states.windows(2) {
                for trace in Tracer::new(host()).trace_interleavings(&[&pair[0], &pair[1]], &packet) {
                    prop_assert_eq!(trace.outcome, was, "{:?}", packet);
                }
            }
        }
    }
}

fn web(listen: &[&str], source: Source) -> Service {
    Service { midstream: Midstream::Adopt, source, ..service(listen, &["10.0.2.11:8080", "10.0.2.12:8080"]) }
}

fn rules(table: &Table, chain: &str) -> Vec<String> {
    table
        .chains
        .get(&chain.into())
        .map_or(vec![], |chain| chain.rules.iter().map(ToString::to_string).collect())
}

#[test]
fn answers_have_one_rule_for_first_packets_and_constant_rules_behind_it() {
    let kept = |last: &str| {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        Source::Addresses(address("10.0.2.1"), address(last), SourcePorts::Keep)
    };
    let many = services([
        ("a", web(&["203.0.113.10:80"], Source::Preserve)),
        (
            "b",
            Service {
                backends: service(&[], &["10.0.2.13"]).backends,
                ..web(&["203.0.113.11:80"], Source::Preserve)
            },
        ),
        (
            "c",
            Service {
                backends: service(&[], &["10.0.2.14:80"]).backends,
                ..web(&["*:81", "203.0.113.11:82"], Source::Preserve)
            },
        ),
        ("d", web(&["203.0.113.12:80"], kept("10.0.2.1"))),
        ("e", web(&["203.0.113.13:80"], kept("10.0.2.8"))),
        ("f", web(&["203.0.113.14:80"], Source::Masquerade)),
    ]);
    let table = render(&many, None).table;
    let midstream = "tcp flags != syn / fin,syn,rst,ack";
    assert_eq!(rules(&table, "prerouting")[0], format!("{midstream} jump early-answers"));
    assert_eq!(rules(&table, "postrouting").pop(), Some(format!("{midstream} goto answers")));
    assert_eq!(
        rules(&table, "early-answers"),
        [
            "ip daddr 10.0.2.1 ip saddr . th sport @early-snat-keep4/10.0.2.1 drop",
            "ip daddr 10.0.2.1-10.0.2.8 ip saddr . th sport @early-snat-keep4/10.0.2.1..10.0.2.8 drop",
        ]
    );
    assert_eq!(
        rules(&table, "answers"),
        [
            "ct status dnat accept",
            "fib saddr type local accept",
            "ip saddr . th sport @early-preserve4 drop",
            "snat ip to ip saddr . tcp sport map @answers4",
        ]
    );
}

#[test]
fn answers_have_no_rules_if_no_service_adopts() {
    let ignores = |source| Service { midstream: Midstream::Ignore, ..web(&["203.0.113.10:80"], source) };
    for source in [Source::Preserve, Source::Masquerade] {
        let udp = web(&["203.0.113.10:53/udp"], source);
        let table = render(&services([("web", ignores(source)), ("dns", udp)]), None).table;
        assert!(!table.chains.keys().any(|name| name.as_str().contains("answers")), "{:?}", table.chains);
    }
}

/// Its connections ended with this host, or clients reach it directly.
#[test]
fn answer_of_a_backend_on_this_host_keeps_its_address() {
    let table = render(&services([("web", web(&["203.0.113.10:80"], Source::Preserve))]), None).table;
    let (from, to) = ("10.0.2.11:8080".parse().unwrap(), "192.0.2.7:4242".parse().unwrap());
    let packet = Packet::local(Protocol::Tcp, from, to).midstream();
    let local = Host { local: [from.ip()].into(), ..Host::default() };
    assert_eq!(Tracer::new(local).trace(&table, &packet).outcome, UNTRANSLATED);
    let listener = "203.0.113.10:80".parse().unwrap();
    assert_eq!(trace(&table, &packet), Outcome::Answered { from: listener });
}
