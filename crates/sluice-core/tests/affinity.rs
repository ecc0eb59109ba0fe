//! Affinity: rules make all listeners of a service know the client of one of them.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::older::Older;
use common::{Services, service, services};
use sluice_core::model::{BackendName, Protocol, Scheduler, Service};
use sluice_core::render::clients::{Keeping, maps, may_evict};
use sluice_core::render::{GroupNumbers, Rendered, render};
use sluice_nft::trace::{Host, Ingress, Outcome, Packet, Tracer};
use sluice_nft::{Data, Element, Field, Key, Octets, Operand, SetUpdate, Statement, Table};

const WEB: &str = "203.0.113.10";

fn affine(listen: &[&str], backends: &[&str]) -> Service {
    Service { affinity: Some(600), scheduler: Scheduler::Random, ..service(listen, backends) }
}

/// A table with the clients that it remembers.
#[derive(Default)]
struct Balancer(Table);

impl Balancer {
    fn apply(&mut self, services: &Services) {
        let mut after = render(services, Some(&self.0)).table;
        for clients in maps(&after.clone()) {
            let learned = self.0.sets.get(&clients.name).map(|set| set.elements.clone());
            after.sets.get_mut(&clients.name).unwrap().elements = learned.unwrap_or_default();
        }
        self.0 = after;
    }

    /// The backend of a client's connection, which the rules then add to the client map.
    fn connect(&mut self, client: &str, to: &str, random: u32) -> String {
        let (to, protocol) = to
            .split_once('/')
            .map_or((to, Protocol::Tcp), |(to, name)| (to, Protocol::from_name(name).unwrap()));
        let client: IpAddr = client.parse().unwrap();
        let destination: SocketAddr = to.parse().unwrap();
        let packet = Packet {
            ingress: Ingress::Arriving("eth0".into()),
            random,
            ..Packet::local(protocol, SocketAddr::new(client, 4242), destination)
        };
        let trace = Tracer::new(Host::default()).trace(&self.0, &packet);
        let Outcome::Translated { to: backend, .. } = trace.outcome else { panic!("{trace:?}") };
        for visit in &trace.visits {
            let rule = &self.0.chains[&visit.chain].rules[visit.rule];
            let Some(Statement::Update { key, set, update: SetUpdate::Data(data, _) }) =
                rule.0.last().cloned()
            else {
                continue;
            };
            if !matches!(rule.0[visit.statement], Statement::InSet(..)) {
                continue;
            }
            let key = key.iter().fold(Key::EMPTY, |key, part| match part {
                Operand::Field(Field::Saddr(_)) => key.address(client),
                Operand::Field(Field::CtOriginalDaddr(_)) => key.address(destination.ip()),
                Operand::Slot(pick) => key.slot(pick.range().1),
                other => panic!("{other}"),
            });
            let value = data.iter().fold(Octets::EMPTY, |value, part| match part {
                Operand::Field(Field::Daddr(_)) => value.address(backend.ip()),
                Operand::Field(Field::Dport) => value.port(backend.port()),
                other => panic!("{other}"),
            });
            // An element that is there keeps what it leads to.
            let elements = &mut self.0.sets.get_mut(&set).unwrap().elements;
            elements.entry(key).or_insert(Element { data: Data::Value(value) });
        }
        backend.to_string()
    }

    /// Deletes the clients that must leave; returns how many.
    fn release(&mut self, services: &Services) -> usize {
        let groups = GroupNumbers::of(&self.0);
        let mut count = 0;
        for clients in maps(&self.0.clone()) {
            let elements = &mut self.0.sets.get_mut(&clients.name).unwrap().elements;
            let learned = elements.iter().map(|(key, element)| (*key, element.data.clone())).collect();
            for (key, _) in Keeping::of(services.into(), &groups, &clients).stale(learned) {
                elements.remove(&key);
                count += 1;
            }
        }
        count
    }
}

/// Random numbers that pick different backends of two.
const NUMBERS: [u32; 2] = [0, u32::MAX];

#[test]
fn client_known_to_one_listener_is_known_to_all_of_its_service() {
    let listen = ["203.0.113.10:80", "203.0.113.10:443", "203.0.113.10:443/udp", "203.0.113.10:443/sctp"];
    for (backends, expected) in [
        (["10.0.2.11:8080", "10.0.2.12:8080"], [8080, 8080, 8080, 8080]),
        (["10.0.2.11", "10.0.2.12"], [80, 443, 443, 443]),
        (["10.0.2.11", "10.0.2.12:8080"], [80, 443, 443, 443]),
        (["10.0.2.11:81", "10.0.2.12"], [81, 81, 81, 81]),
    ] {
        let expected = expected.map(|port| format!("10.0.2.11:{port}"));
        for first in 0..listen.len() {
            let mut balancer = Balancer::default();
            balancer.apply(&services([("web", affine(&listen, &backends))]));
            assert_eq!(balancer.connect("192.0.2.1", listen[first], NUMBERS[0]), expected[first]);
            for (to, expected) in listen.iter().zip(&expected) {
                assert_eq!(balancer.connect("192.0.2.1", to, NUMBERS[1]), *expected, "{to} of {backends:?}");
            }
            assert!(balancer.connect("192.0.2.2", listen[first], NUMBERS[1]).starts_with("10.0.2.12:"));
        }
    }
}

#[test]
fn ipv6_client_known_to_one_listener_is_known_to_all_of_its_service() {
    let listen = ["2001:db8::10:80", "2001:db8::10:443"];
    for backends in [["[fd00::11]:8080", "[fd00::12]:8080"], ["[fd00::11]", "[fd00::12]"]] {
        let mut balancer = Balancer::default();
        balancer.apply(&services([("web", affine(&listen, &backends))]));
        assert!(
            balancer.connect("2001:db8:7::1", "[2001:db8::10]:80", NUMBERS[0]).starts_with("[fd00::11]:")
        );
        assert!(
            balancer.connect("2001:db8:7::1", "[2001:db8::10]:443", NUMBERS[1]).starts_with("[fd00::11]:")
        );
    }
}

#[test]
fn client_of_one_service_is_unknown_to_another_at_the_same_address() {
    let backends = ["10.0.2.11:8080", "10.0.2.12:8080"];
    let mut balancer = Balancer::default();
    balancer.apply(&services([
        ("dns", affine(&["203.0.113.10:53"], &backends)),
        ("dns-udp", affine(&["203.0.113.10:53/udp"], &backends)),
        ("web", affine(&["203.0.113.10:80"], &backends)),
    ]));
    let all = ["203.0.113.10:53", "203.0.113.10:53/udp", "203.0.113.10:80"];
    for (n, to) in all.iter().enumerate() {
        assert_eq!(balancer.connect("192.0.2.1", to, NUMBERS[n % 2]), backends[n % 2], "{to}");
    }
    for (n, to) in all.iter().enumerate() {
        assert_eq!(balancer.connect("192.0.2.1", to, NUMBERS[1 - n % 2]), backends[n % 2], "{to}");
    }
}

#[test]
fn listeners_that_come_and_go_leave_clients_where_they_are() {
    let backends = ["10.0.2.11:8080", "10.0.2.12:8080"];
    let mut balancer = Balancer::default();
    let apply = |balancer: &mut Balancer, listen: &[&str]| {
        let services = services([("web", affine(listen, &backends))]);
        balancer.apply(&services);
        assert_eq!(balancer.release(&services), 0);
    };
    apply(&mut balancer, &["203.0.113.10:80"]);
    assert_eq!(balancer.connect("192.0.2.1", "203.0.113.10:80", NUMBERS[0]), backends[0]);
    apply(&mut balancer, &["203.0.113.10:22", "203.0.113.10:80", "203.0.113.10:443"]);
    for to in ["203.0.113.10:22", "203.0.113.10:443", "203.0.113.10:80"] {
        assert_eq!(balancer.connect("192.0.2.1", to, NUMBERS[1]), backends[0], "{to}");
    }
    apply(&mut balancer, &["203.0.113.10:443"]);
    assert_eq!(balancer.connect("192.0.2.1", "203.0.113.10:443", NUMBERS[1]), backends[0]);
}

#[test]
fn port_that_goes_to_another_service_leads_no_client_to_backends_of_the_first() {
    let (ours, theirs) = (["10.0.2.11:8080"], ["10.0.2.12:8080"]);
    let mut balancer = Balancer::default();
    balancer.apply(&services([("web", affine(&["203.0.113.10:80", "203.0.113.10:443"], &ours))]));
    assert_eq!(balancer.connect("192.0.2.1", "203.0.113.10:80", 0), ours[0]);
    for after in [
        services([
            ("api", affine(&["203.0.113.10:80"], &theirs)),
            ("web", affine(&["203.0.113.10:443"], &ours)),
        ]),
        services([("api", affine(&["203.0.113.10:80"], &theirs))]),
    ] {
        let mut balancer = Balancer(balancer.0.clone());
        balancer.apply(&after);
        assert_eq!(balancer.release(&after), 1);
        assert_eq!(balancer.connect("192.0.2.1", "203.0.113.10:80", 0), theirs[0]);
    }
}

#[test]
fn services_of_the_same_ports_share_their_rules() {
    let at = |address: &str| {
        let listen = [format!("{address}:80"), format!("{address}:443")];
        affine(&[&listen[0], &listen[1]], &["10.0.2.11:8080", "10.0.2.12:8080"])
    };
    let rules = |table: &Table| table.chains.values().map(|chain| chain.rules.len()).sum::<usize>();
    let one = render(&services([("a", at(WEB))]), None).table;
    let two = render(&services([("a", at(WEB)), ("b", at("203.0.113.11"))]), None).table;
    assert_eq!(rules(&one), rules(&two));
}

#[test]
fn client_leaves_a_backend_that_is_gone_or_down_and_no_other() {
    let web = affine(&["203.0.113.10:80", "203.0.113.10:443"], &["10.0.2.11", "10.0.2.12:81"]);
    let down = Service { evict_from: vec![BackendName::new("10.0.2.11").unwrap()], ..web.clone() };
    let gone = affine(&["203.0.113.10:80", "203.0.113.10:443"], &["10.0.2.12:81"]);
    let off = Service { enabled: false, ..web.clone() };
    let moved = Service { listeners: vec![common::listener("203.0.113.10:81")], ..web.clone() };
    let without = Service { affinity: None, ..web.clone() };
    // When it is off, nothing needs the map that had the client of 10.0.2.12:81.
    for (after, leave) in [(&down, 1), (&gone, 1), (&off, 1), (&web, 0)] {
        let mut balancer = Balancer::default();
        balancer.apply(&services([
            ("web", web.clone()),
            ("other", affine(&["203.0.113.11:80"], &["10.0.2.11"])),
        ]));
        assert_eq!(balancer.connect("192.0.2.1", "203.0.113.10:80", NUMBERS[0]), "10.0.2.11:80");
        assert_eq!(balancer.connect("192.0.2.2", "203.0.113.10:443", NUMBERS[1]), "10.0.2.12:81");
        assert_eq!(balancer.connect("192.0.2.3", "203.0.113.11:80", NUMBERS[1]), "10.0.2.11:80");
        let after_all =
            services([("web", after.clone()), ("other", affine(&["203.0.113.11:80"], &["10.0.2.11"]))]);
        balancer.apply(&after_all);
        assert_eq!(balancer.release(&after_all), leave);
        assert_eq!(may_evict(&web, Some(after)), leave > 0);
    }
    assert!(may_evict(&web, None) && may_evict(&web, Some(&moved)) && may_evict(&web, Some(&without)));
    assert!(!may_evict(&without, Some(&web)));
}

#[test]
fn numbers_of_groups_are_read_from_keys_of_our_layout_only() {
    let web = affine(&["203.0.113.10:80", "[2001:db8::10]:80"], &["10.0.2.11:80", "[fd00::11]:80"]);
    let Rendered { table, program, .. } = render(&services([("web", web)]), None);
    assert_eq!(GroupNumbers::of(&table), program.groups);
    assert_ne!(program.groups, GroupNumbers::default());
    let older = Older::with_other_keys().under_our_names().layout(&table);
    assert_eq!(GroupNumbers::of(&older), GroupNumbers::default());
}
