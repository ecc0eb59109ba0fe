//! Traces of virtual packets.

use std::net::SocketAddr;

use proptest::prelude::*;
use sluice_conformance::{Balancer, value};
use sluice_nft::jhash::{jhash, reciprocal_scale};
use sluice_nft::trace::{Host, Ingress, Outcome, Packet, Tracer, Visit};
use sluice_nft::{
    Base, Chain, Comparison, Data, Element, Field, Ip, Key, Octets, Operand, Protocol, Rule, Set, SlotExpr,
    Statement, Table,
};

const UNTOUCHED: Outcome = Outcome::Untranslated { masqueraded: false };

#[test]
fn packet_to_a_listener_is_translated_and_masqueraded() {
    let trace = Tracer::default().trace(&balancer(in_turn(3)), &packet());
    assert_eq!(trace.outcome, to_backend(0));
    let visit = |chain: &str, rule, statement, element: Option<(&str, Key)>| {
        let element = element.map(|(set, key)| (set.into(), key));
        Visit { chain: chain.into(), rule, statement, element }
    };
    let listener = Key::EMPTY.address([203, 0, 113, 10].into()).protocol(6);
    let source = listener.address([10, 0, 2, 10].into()).port(8080);
    assert_eq!(
        trace.visits,
        [
            visit("prerouting", 0, 0, None),
            visit("prerouting", 0, 1, Some(("services", listener.port(80)))),
            visit("pick", 0, 0, None),
            visit("pick", 0, 1, None),
            visit("pick", 0, 2, Some(("slots", Key::EMPTY.slot(0)))),
            visit("postrouting", 0, 0, None),
            visit("postrouting", 0, 1, None),
            visit("postrouting", 0, 2, Some(("masqueraded", source))),
            visit("postrouting", 0, 3, None),
        ]
    );
}

#[test]
fn packet_of_a_local_process_passes_output_and_postrouting() {
    let local = Packet { ingress: Ingress::Local, ..packet() };
    let trace = Tracer::default().trace(&balancer(in_turn(3)), &local);
    assert_eq!(trace.outcome, to_backend(0));
    assert_eq!(trace.visits[0].chain, "output".into());
}

#[test]
fn packet_to_anything_else_is_left_alone() {
    let mut tracer = Tracer::default();
    let table = balancer(in_turn(3));
    for other in [
        Packet { destination: address("203.0.113.10:81"), ..packet() },
        Packet { destination: address("203.0.113.11:80"), ..packet() },
        Packet { protocol: Protocol::Udp, ..packet() },
        Packet {
            source: address("[2001:db8::1]:40000"),
            destination: address("[2001:db8::10]:80"),
            ..packet()
        },
    ] {
        assert_eq!(tracer.trace(&table, &other).outcome, UNTOUCHED, "{other:?}");
    }
    assert_eq!(tracer.trace(&Table::default(), &packet()).outcome, UNTOUCHED);
}

#[test]
fn packet_to_a_backend_on_the_host_is_delivered_without_postrouting() {
    let host = Host { local: [address("10.0.2.10:0").ip()].into(), ..Host::default() };
    let mut tracer = Tracer::new(host);
    let delivered = Outcome::Translated { to: backend(0), masqueraded: false };
    assert_eq!(tracer.trace(&balancer(in_turn(1)), &packet()).outcome, delivered);
    let local = Packet { ingress: Ingress::Local, ..packet() };
    assert_eq!(tracer.trace(&balancer(in_turn(1)), &local).outcome, to_backend(0));
}

#[test]
fn packet_that_misses_every_slot_is_dropped() {
    let mut table = balancer(in_turn(2));
    table.sets.get_mut(&"slots".into()).expect("it has slots").elements.clear();
    assert_eq!(Tracer::default().trace(&table, &packet()).outcome, Outcome::Dropped);
}

#[test]
fn round_robin_starts_at_the_first_slot_and_goes_on_where_it_was() {
    let mut tracer = Tracer::default();
    let table = balancer(in_turn(3));
    let mut outcomes =
        |table: &Table, n| (0..n).map(|_| tracer.trace(table, &packet()).outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&table, 5), [0, 1, 2, 0, 1].map(to_backend));
    // Other data under the same rule.
    let mut changed = table.clone();
    let slots = &mut changed.sets.get_mut(&"slots".into()).expect("it has slots").elements;
    slots.insert(Key::EMPTY.slot(2), element(value(backend(0))));
    assert_eq!(outcomes(&changed, 2), [0, 0].map(to_backend));
    // Another rule in its place.
    assert_eq!(outcomes(&balancer(in_turn(2)), 3), [0, 1, 0].map(to_backend));
    tracer.reset_counters(&"pick".into());
    assert_eq!(tracer.trace(&balancer(in_turn(2)), &packet()).outcome, to_backend(0));
}

proptest! {
    #[test]
    fn random_number_chooses_the_slot(random: u32, modulus in 1..50_u32, offset in 0..1000_u32) {
        let table = balancer(SlotExpr::Random { modulus, offset });
        let outcome = Tracer::default().trace(&table, &Packet { random, ..packet() }).outcome;
        let slot = u64::from(random) * u64::from(modulus) / (1 << 32);
        prop_assert_eq!(outcome, to_backend(slot as u8));
    }

    #[test]
    fn client_chooses_the_slot_when_hashed(client: [u8; 4], port: u16, modulus in 1..50_u32, seed: u32) {
        let on = vec![Field::Saddr(Ip::V4), Field::Sport];
        let table = balancer(SlotExpr::Jhash { on, modulus, seed, offset: 7 });
        let source = SocketAddr::from((client, port));
        let outcome = Tracer::default().trace(&table, &Packet { source, ..packet() }).outcome;
        let port = port.to_be_bytes();
        let hash = jhash(&[client[0], client[1], client[2], client[3], port[0], port[1], 0, 0], seed);
        prop_assert_eq!(outcome, to_backend(reciprocal_scale(hash, modulus) as u8));
    }
}

#[test]
fn rejected_packet_is_answered_by_protocol() {
    let reset = Rule(vec![Statement::is(Field::L4proto, &[Protocol::Tcp.number()]), Statement::RejectReset]);
    let outcome = |rules: Vec<Rule>, protocol: Protocol| {
        let mut table = balancer(in_turn(1));
        table.chains.insert("pick".into(), Chain { base: None, rules });
        let listener = &mut table.sets.get_mut(&"services".into()).expect("it has a listener").elements;
        let key = Key::EMPTY.address([203, 0, 113, 10].into()).protocol(protocol.number()).port(80);
        listener.insert(key, element(Data::Goto("pick".into())));
        Tracer::default().trace(&table, &Packet { protocol, ..packet() }).outcome
    };
    let both = || vec![reset.clone(), Rule(vec![Statement::RejectPort])];
    assert_eq!(outcome(both(), Protocol::Tcp), Outcome::Reset);
    assert_eq!(outcome(both(), Protocol::Udp), Outcome::Unreachable);
    assert_eq!(outcome(vec![Rule(vec![Statement::RejectReset])], Protocol::Udp), Outcome::Dropped);
}

#[test]
fn every_test_compares_like_the_kernel() {
    let short = |value: &[u8]| Octets::new(value).expect("it is short");
    let port = |port: u16| short(&port.to_be_bytes());
    let eth0 = short(b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
    let type_is = |kind: u32| Comparison::Eq(short(&kind.to_ne_bytes()));
    for (field, test, holds) in [
        (Field::Dport, Comparison::Eq(port(80)), true),
        (Field::Dport, Comparison::Eq(port(81)), false),
        (Field::Dport, Comparison::Ne(port(81)), true),
        (Field::Dport, Comparison::InRange(port(80), port(90)), true),
        (Field::Dport, Comparison::InRange(port(81), port(90)), false),
        (Field::Dport, Comparison::InRange(port(70), port(80)), true),
        (Field::Sport, Comparison::Eq(port(40000)), true),
        (Field::Daddr(Ip::V4), Comparison::NotInPrefix(short(&[127])), true),
        (Field::Daddr(Ip::V4), Comparison::NotInPrefix(short(&[203, 0])), false),
        (Field::Saddr(Ip::V4), Comparison::Eq(short(&[198, 51, 100, 1])), true),
        (Field::L4proto, Comparison::Eq(short(&[6])), true),
        (Field::Nfproto, Comparison::Eq(short(&[10])), false),
        (Field::Iifname, Comparison::Eq(eth0), true),
        (Field::FibDaddrType, type_is(Field::LOCAL), true),
        (Field::CtStatus, Comparison::AnyBit(Field::DNAT), false),
        (Field::CtOriginalDaddr(Ip::V4), Comparison::Eq(short(&[203, 0, 113, 10])), true),
        (Field::CtOriginalDaddr(Ip::V6), Comparison::Ne(short(&[0; 16])), false),
        (Field::CtOriginalDport, Comparison::Eq(port(80)), true),
        // An IPv6 address read from an IPv4 packet is something else, not nothing.
        (Field::Saddr(Ip::V6), Comparison::Ne(short(&[0; 16])), true),
    ] {
        let host = Host { local: [packet().destination.ip()].into(), ..Host::default() };
        let rule = Rule(vec![Statement::Match(field, test), Statement::Drop]);
        let outcome = Tracer::new(host).trace(&at_prerouting(vec![rule.clone()]), &packet()).outcome;
        assert_eq!(outcome == Outcome::Dropped, holds, "{rule}");
    }
}

#[test]
fn destination_types_are_told_apart() {
    let host = Host {
        local: [address("192.0.2.1:0").ip()].into(),
        broadcast: [address("192.0.2.255:0").ip()].into(),
    };
    for (destination, kind) in [
        ("192.0.2.1:80", Field::LOCAL),
        ("127.1.2.3:80", Field::LOCAL),
        ("[::1]:80", Field::LOCAL),
        ("192.0.2.255:80", Field::BROADCAST),
        ("255.255.255.255:80", Field::BROADCAST),
        ("224.0.0.1:80", Field::MULTICAST),
        ("[ff02::1]:80", Field::MULTICAST),
        ("192.0.2.2:80", 1),
    ] {
        let destination = address(destination);
        let source = if destination.is_ipv4() { address("192.0.2.9:1") } else { address("[fd00::9]:1") };
        let rule = Rule(vec![Statement::is(Field::FibDaddrType, &kind.to_ne_bytes()), Statement::Drop]);
        let packet = Packet::arriving(Protocol::Udp, source, destination);
        let outcome = Tracer::new(host.clone()).trace(&at_prerouting(vec![rule]), &packet).outcome;
        assert_eq!(outcome, Outcome::Dropped, "{destination}");
    }
}

#[test]
fn jump_comes_back_and_goto_does_not() {
    let enter = |statement| vec![Rule(vec![statement]), Rule(vec![Statement::Drop])];
    let outcome = |statement, rules| {
        let mut table = at_prerouting(enter(statement));
        table.chains.insert("c".into(), Chain { base: None, rules });
        Tracer::default().trace(&table, &packet()).outcome
    };
    assert_eq!(outcome(Statement::Jump("c".into()), vec![]), Outcome::Dropped);
    assert_eq!(outcome(Statement::Goto("c".into()), vec![]), UNTOUCHED);
    assert_eq!(outcome(Statement::Jump("c".into()), vec![Rule(vec![Statement::Accept])]), UNTOUCHED);
    // The kernel would refuse a circle; at least there is an end to it.
    assert_eq!(
        outcome(Statement::Goto("c".into()), vec![Rule(vec![Statement::Goto("c".into())])]),
        Outcome::Dropped
    );
}

#[test]
fn base_chains_run_by_priority_until_one_translates() {
    let mut table = balancer(in_turn(1));
    let late = |priority| Chain {
        base: Some(Base { priority, ..Base::PREROUTING }),
        rules: vec![Rule(vec![Statement::Drop])],
    };
    table.chains.insert("also".into(), late(-99));
    assert_eq!(Tracer::default().trace(&table, &packet()).outcome, to_backend(0));
    table.chains.insert("also".into(), late(-101));
    assert_eq!(Tracer::default().trace(&table, &packet()).outcome, Outcome::Dropped);
    // Accepted by one, a packet still meets the next.
    let accept = Rule(vec![Statement::Accept]);
    table.chains.insert("also".into(), Chain { rules: vec![accept], ..late(-101) });
    assert_eq!(Tracer::default().trace(&table, &packet()).outcome, to_backend(0));
}

#[test]
fn translation_of_the_other_ip_version_does_nothing() {
    let mut table = balancer(in_turn(1));
    let rules = &mut table.chains.get_mut(&"pick".into()).expect("it is there").rules;
    let Some(Statement::Dnat { ip, .. }) = rules[0].0.last_mut() else { panic!("it translates") };
    *ip = Ip::V6;
    assert_eq!(Tracer::default().trace(&table, &packet()).outcome, Outcome::Dropped);
}

#[test]
fn address_only_map_keeps_the_port() {
    let mut table = balancer(in_turn(1));
    let map =
        Set::counted_map(table.sets[&"slots".into()].key.clone(), vec![Operand::Field(Field::Daddr(Ip::V4))]);
    let data = Data::Value(Octets::EMPTY.with(&[10, 0, 2, 10]));
    let elements = [(Key::EMPTY.slot(0), element(data))].into();
    table.sets.insert("slots".into(), Set { elements, ..map });
    let rules = &mut table.chains.get_mut(&"pick".into()).expect("it is there").rules;
    let Some(Statement::Dnat { port, .. }) = rules[0].0.last_mut() else { panic!("it translates") };
    *port = false;
    let to = address("10.0.2.10:80");
    assert_eq!(
        Tracer::default().trace(&table, &packet()).outcome,
        // No rule masquerades flows to this backend and port.
        Outcome::Translated { to, masqueraded: false }
    );
}

/// The listener led to `pick`; now it leads to a chain that is new. In one commit, a packet that read the old
/// rules and the new element finds the new chain empty. Measured with real packets on Linux 6.18, too.
#[test]
fn element_led_to_a_chain_of_the_same_commit_lets_packets_slip_through() {
    let old = balancer(in_turn(2));
    let mut prepared = old.clone();
    prepared.chains.insert("new".into(), old.chains[&"pick".into()].clone());
    let mut moved = prepared.clone();
    let services = &mut moved.sets.get_mut(&"services".into()).expect("it is there").elements;
    services.values_mut().for_each(|element| element.data = Data::Goto("new".into()));

    let outcomes = |tables: &[&Table]| {
        let ways = Tracer::default().trace_interleavings(tables, &packet());
        ways.into_iter().map(|trace| trace.outcome).collect::<Vec<_>>()
    };
    assert!(outcomes(&[&old, &moved]).contains(&UNTOUCHED));
    assert!(outcomes(&[&old, &prepared, &moved]).iter().all(|outcome| *outcome == to_backend(0)));
}

#[test]
fn slots_deleted_with_the_switch_are_missed() {
    let old = balancer(in_turn(2));
    let new = Balancer { pick: SlotExpr::Inc { modulus: 1, offset: 9 }, ..two_backends() }.table();
    let mut both = new.clone();
    let slots = &mut both.sets.get_mut(&"slots".into()).expect("it has slots").elements;
    slots.extend(old.sets[&"slots".into()].elements.clone());

    let dropped = |tables: &[&Table]| {
        let ways = Tracer::default().trace_interleavings(tables, &packet());
        ways.iter().filter(|trace| trace.outcome == Outcome::Dropped).count()
    };
    // The commit falls into the base chain, before any of its four other reads.
    assert_eq!(dropped(&[&old, &new]), 4);
    assert_eq!(dropped(&[&old, &both]), 0);
    assert_eq!(dropped(&[&both, &new]), 0);
}

#[test]
fn map_replaced_by_one_declared_otherwise_is_missed() {
    let old = balancer(in_turn(2));
    let mut new = old.clone();
    let services = new.sets.get_mut(&"services".into()).expect("it is there");
    *services = Set { size: Some(1024), ..services.clone() };
    let ways = Tracer::default().trace_interleavings(&[&old, &new], &packet());
    assert!(ways.iter().any(|trace| trace.outcome == UNTOUCHED));
}

#[test]
fn packet_across_commits_sees_each_as_soon_as_it_looks_anew() {
    let tables = [&balancer(in_turn(1)), &Table::default()];
    let mut reads = 0;
    // The commit falls between translation and postrouting.
    let trace = Tracer::default().trace_across(&tables, &packet(), || {
        reads += 1;
        usize::from(reads == 6)
    });
    assert_eq!(trace.outcome, Outcome::Translated { to: backend(0), masqueraded: false });
}

fn two_backends() -> Balancer {
    let backends = vec![backend(0), backend(1)];
    Balancer { protocol: Protocol::Tcp, listener: address("203.0.113.10:80"), pick: in_turn(2), backends }
}

fn balancer(pick: SlotExpr) -> Table {
    let backends = (0..pick.range().0).map(|n| backend(n as u8)).collect();
    Balancer { pick, backends, ..two_backends() }.table()
}

fn in_turn(modulus: u32) -> SlotExpr {
    SlotExpr::Inc { modulus, offset: 0 }
}

fn backend(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 10 + number], 8080))
}

fn to_backend(number: u8) -> Outcome {
    Outcome::Translated { to: backend(number), masqueraded: true }
}

fn packet() -> Packet {
    Packet::arriving(Protocol::Tcp, address("198.51.100.1:40000"), address("203.0.113.10:80"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn at_prerouting(rules: Vec<Rule>) -> Table {
    let chains = [("prerouting".into(), Chain { base: Some(Base::PREROUTING), rules })].into();
    Table { chains, ..Table::default() }
}

fn element(data: Data) -> Element {
    Element { data }
}
