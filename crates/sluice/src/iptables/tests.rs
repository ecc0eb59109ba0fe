use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sluice_core::model::{BackendName, HashOn, InterfaceName, Listener, Protocol, Service};

use super::*;

fn service(listeners: &[Listener], scheduler: Scheduler, backends: &[Backend]) -> Service {
    Service { listeners: listeners.to_vec(), scheduler, backends: backends.to_vec(), ..Service::default() }
}

fn listen(address: &str, first: u16, last: u16, protocol: Protocol) -> Listener {
    let address = match address {
        "*" => Address::Any,
        address => Address::Exact(address.parse().unwrap()),
    };
    Listener { address, ports: Ports { first, last }, protocol }
}

fn web(address: &str) -> Listener {
    listen(address, 80, 80, Protocol::Tcp)
}

fn backend(address: &str, port: BackendPort, weight: u16) -> Backend {
    let address = address.parse().unwrap();
    let name = BackendName::new(&format!("{address}")).unwrap();
    Backend { name, address, port, weight, backup: false, max_connections: None }
}

fn three(weights: [u16; 3]) -> Vec<Backend> {
    let addresses = ["10.0.2.11", "10.0.2.12", "10.0.2.13"];
    addresses.iter().zip(weights).map(|(a, w)| backend(a, BackendPort::One(8080), w)).collect()
}

fn named(services: &[(&str, Service)]) -> BTreeMap<ServiceName, Service> {
    services.iter().map(|(name, service)| (ServiceName::new(name).unwrap(), service.clone())).collect()
}

/// Compares with `golden/NAME.rules`.
#[track_caller]
fn assert_golden(name: &str, ip: Ip, services: &[(&str, Service)]) {
    let text = render(&named(services), ip).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/iptables/golden/{name}.rules"));
    sluice_golden::assert_golden(&path, &text);
}

#[test]
fn render_of_four_backends_in_turn_takes_every_fourth_third_second_and_the_rest() {
    let hosts = ["10.0.2.11", "10.0.2.12", "10.0.2.13", "10.0.2.14"];
    let backends = hosts.map(|address| backend(address, BackendPort::Keep, 1));
    let service = service(&[web("203.0.113.10")], Scheduler::RoundRobin, &backends);
    assert_golden("round-robin", Ip::V4, &[("web", service)]);
}

#[test]
fn render_of_a_service_that_adopts_leaves_the_packets_of_others_alone() {
    let adopts = Service {
        midstream: Midstream::Adopt,
        ..service(&[web("203.0.113.10")], Scheduler::Random, &three([1, 1, 0]))
    };
    let ignores = service(&[listen("*", 80, 80, Protocol::Tcp)], Scheduler::Random, &three([1, 0, 0]));
    assert_golden("midstream", Ip::V4, &[("adopts", adopts), ("ignores", ignores)]);
}

#[test]
fn render_of_weights_in_turn_has_a_rule_per_slot() {
    let service = service(&[web("203.0.113.10")], Scheduler::RoundRobin, &three([5, 2, 1]));
    assert_golden("round-robin-weights", Ip::V4, &[("web", service)]);
}

#[test]
fn render_of_weights_by_chance_divides_by_what_is_left() {
    let service = service(&[web("203.0.113.10")], Scheduler::Random, &three([5, 2, 1]));
    assert_golden("random-weights", Ip::V4, &[("web", service)]);
}

#[test]
fn render_of_ipv6_brackets_addresses_that_carry_a_port() {
    let backends = [
        backend("2001:db8:2::11", BackendPort::One(8080), 1),
        backend("2001:db8:2::12", BackendPort::Keep, 1),
    ];
    let dual = service(
        &[listen("2001:db8::10", 53, 53, Protocol::Udp), web("*")],
        Scheduler::RoundRobin,
        &[&backends[..], &three([1, 1, 1])].concat(),
    );
    assert_golden("ipv6", Ip::V6, &[("dual", dual)]);
}

#[test]
fn render_of_any_address_sees_the_interface_before_the_host_s_own_addresses() {
    let mut uplink = service(&[web("*")], Scheduler::RoundRobin, &three([1, 0, 0]));
    uplink.interface = Some(InterfaceName::new("eth0").unwrap());
    uplink.source = Source::Preserve;
    let own = service(&[web("*")], Scheduler::RoundRobin, &three([1, 1, 0]));
    let exact = service(&[web("203.0.113.10")], Scheduler::RoundRobin, &three([0, 0, 1]));
    assert_golden("precedence", Ip::V4, &[("exact", exact), ("own", own), ("uplink", uplink)]);
}

#[test]
fn render_of_ranges_keeps_joins_and_shifts_ports() {
    let shifted = BackendPort::Range(Ports { first: 7000, last: 7010 });
    let ports = [BackendPort::Keep, BackendPort::One(9000), shifted];
    let backends: Vec<_> =
        three([1, 1, 1]).into_iter().zip(ports).map(|(b, port)| Backend { port, ..b }).collect();
    let range =
        service(&[listen("203.0.113.10", 5000, 5010, Protocol::Tcp)], Scheduler::RoundRobin, &backends);
    let all =
        service(&[listen("203.0.113.11", 1, u16::MAX, Protocol::Udp)], Scheduler::Random, &backends[..1]);
    assert_golden("ranges", Ip::V4, &[("all", all), ("range", range)]);
}

#[test]
fn render_without_backends_redirects_to_a_port_that_refuses() {
    let dns = service(&[listen("203.0.113.10", 53, 53, Protocol::Udp)], Scheduler::RoundRobin, &[]);
    let mut uplink = service(&[web("*")], Scheduler::RoundRobin, &three([0, 0, 0]));
    uplink.interface = Some(InterfaceName::new("eth0").unwrap());
    let own = service(&[web("*")], Scheduler::RoundRobin, &[]);
    assert_golden("no-backend", Ip::V4, &[("dns", dns), ("own", own), ("uplink", uplink)]);
}

#[test]
fn render_of_sctp_shortens_its_longer_chain_names() {
    let sctp = |port| {
        service(
            &[listen("203.0.113.10", port, port, Protocol::Sctp)],
            Scheduler::RoundRobin,
            &three([1, 1, 1]),
        )
    };
    assert_golden("sctp", Ip::V4, &[("m3ua", sctp(2905)), ("diameter-server", sctp(3868))]);
}

#[test]
fn render_of_disabled_services_and_the_other_ip_version_has_no_rules() {
    let mut web4 = service(&[web("203.0.113.10")], Scheduler::RoundRobin, &three([1, 1, 1]));
    let rules = |service: &Service, ip| render(&named(&[("web", service.clone())]), ip).unwrap();
    assert!(rules(&web4, Ip::V6).ends_with("*nat\nCOMMIT\n"));
    web4.enabled = false;
    assert!(rules(&web4, Ip::V4).ends_with("*nat\nCOMMIT\n"));
}

#[test]
fn render_of_what_iptables_lacks_names_the_service() {
    let hash = service(&[web("203.0.113.10")], Scheduler::SourceHash(HashOn::Address), &three([1, 1, 1]));
    let error = render(&named(&[("web", hash)]), Ip::V4).unwrap_err();
    assert!(error.to_string().starts_with("render service web for iptables: source-hash has no"), "{error}");

    let mut prefix = service(&[web("*")], Scheduler::Random, &three([1, 1, 1]));
    prefix.interface = Some(InterfaceName::new("eth+").unwrap());
    let error = render(&named(&[("edge", prefix)]), Ip::V4).unwrap_err();
    assert!(error.to_string().starts_with("render service edge for iptables: iptables takes"), "{error}");
}

#[test]
fn pick_chain_of_many_listeners_is_short_and_unique() {
    let listeners: Vec<_> = (1..=1000)
        .flat_map(|port| Protocol::ALL.map(|protocol| listen("203.0.113.10", port, port, protocol)))
        .collect();
    let one = service(&listeners, Scheduler::RoundRobin, &three([1, 1, 1]));
    let services =
        named(&[("a-service-with-a-long-name", one.clone()), ("a-service-with-a-longer-name", one)]);
    let chains: BTreeSet<_> = frontends((&services).into()).iter().map(pick_chain).collect();
    assert_eq!(chains.len(), 6000);
    assert!(chains.iter().all(|chain| chain.len() <= 28), "{chains:?}");
}
