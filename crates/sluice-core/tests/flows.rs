//! What becomes of flows, by the services in force alone.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::strategy::any_services;
use common::{Services, With, service, services};
use proptest::prelude::*;
use proptest::sample::select;
use sluice_core::census::Way;
use sluice_core::flows::{Affected, Flow, Found, Judge, Verdict};
use sluice_core::model::{Address, Guard, Listener, OnDeny, OnDown, Protocol, Scheduler, Service};
use sluice_core::owners::Owners;
use sluice_core::render::render;
use sluice_core::transition::Transition;
use sluice_nft::{Ip, Table};

const UDP: Protocol = Protocol::Udp;
const TCP: Protocol = Protocol::Tcp;

/// Addresses of the host.
const LOCAL: [&str; 3] = ["203.0.113.10", "10.0.1.1", "2001:db8::10"];

fn is_local(address: IpAddr) -> bool {
    LOCAL.iter().any(|local| address == local.parse::<IpAddr>().unwrap())
}

/// A flow of a UDP client that was translated, or was not if both addresses are the same.
fn udp(to: &str, backend: &str) -> Flow {
    let [client, to, backend]: [SocketAddr; 3] =
        ["198.51.100.7:5300", to, backend].map(|text| text.parse().unwrap());
    Flow {
        protocol: UDP,
        client,
        to,
        backend,
        back_to: client,
        is_translated: to != backend,
        is_opening: false,
        is_active: true,
    }
}

/// An established connection.
fn tcp(to: &str, backend: &str) -> Flow {
    Flow { protocol: TCP, ..udp(to, backend) }
}

fn verdict(services: &Services, flow: &Flow) -> Verdict {
    Judge::new(services).verdict(flow, is_local)
}

trait Standing {
    fn unhealthy(self, backend: &str) -> Self;
    fn disabled(self, backend: &str) -> Self;
    fn resets(self) -> Self;
    fn guard(self, allow: &[&str], deny: &[&str]) -> Self;
    fn resets_refused(self) -> Self;
}

impl Standing for Service {
    fn unhealthy(mut self, backend: &str) -> Self {
        let down = self.backends.iter_mut().find(|it| it.name.as_str() == backend).unwrap();
        down.weight = 0;
        self.unhealthy.push(down.name.clone());
        self
    }

    fn disabled(mut self, backend: &str) -> Self {
        let out = self.backends.iter_mut().find(|it| it.name.as_str() == backend).unwrap();
        out.weight = 0;
        self.disabled.push(out.name.clone());
        self
    }

    fn resets(self) -> Self {
        Service { on_down: OnDown::Reset, ..self }
    }

    fn guard(self, allow: &[&str], deny: &[&str]) -> Self {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let guard = Guard { allow: nets(allow), deny: nets(deny), ..Guard::default() };
        Service { guard: Some(Arc::new(guard)), ..self }
    }

    fn resets_refused(self) -> Self {
        Service { on_deny: OnDeny::Reset, ..self }
    }
}

const VIP: &str = "203.0.113.10:53";

#[test]
fn flow_stays_with_the_service_that_takes_it_now() {
    let services = services([
        ("any", service(&["*:53/udp"], &["10.0.2.12:53"])),
        ("dns", service(&["203.0.113.10:53/udp"], &["10.0.2.11:53"])),
        ("off", Service { enabled: false, ..service(&["203.0.113.10:54/udp"], &["10.0.2.11:53"]) }),
        ("range", service(&["203.0.113.10:50-59/udp", "198.51.100.1:50-59/udp"], &["10.0.2.13"])),
        ("wide", service(&["*:50-59/udp"], &["10.0.2.14"])),
    ]);
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:53"), Verdict::Keep),
        // Where others led that come after it.
        (udp(VIP, "10.0.2.12:53"), Verdict::Forget),
        (udp(VIP, "10.0.2.13:53"), Verdict::Forget),
        // From before the rules.
        (udp(VIP, VIP), Verdict::Forget),
        (Flow { is_opening: true, ..tcp(VIP, VIP) }, Verdict::Keep),
        (udp("10.0.1.1:53", "10.0.1.1:53"), Verdict::Forget),
        (udp("10.0.1.1:53", "10.0.2.12:53"), Verdict::Keep),
        // It only passes through, or a program of its own sends to itself.
        (udp("198.51.100.9:53", "198.51.100.9:53"), Verdict::Keep),
        (
            Flow { client: "127.0.0.1:9".parse().unwrap(), ..udp("127.0.0.1:53", "127.0.0.1:53") },
            Verdict::Keep,
        ),
        // No wildcard takes what this host sends to itself.
        (
            Flow { client: "127.0.0.1:9".parse().unwrap(), ..udp("127.0.0.1:53", "10.0.2.12:53") },
            Verdict::Forget,
        ),
        (udp("203.0.113.10:54", "10.0.2.13:54"), Verdict::Keep),
        (udp("203.0.113.10:54", "10.0.2.13:55"), Verdict::Forget),
        // A wildcard may have taken it, if the address is local in a way that nobody knows of.
        (udp("198.51.100.1:53", "10.0.2.12:53"), Verdict::Keep),
        (udp("198.51.100.1:53", "10.0.2.13:53"), Verdict::Keep),
        (udp("198.51.100.1:53", "198.51.100.1:53"), Verdict::Forget),
        // Of two wildcards the first takes it, or neither does.
        (udp("198.51.100.9:53", "10.0.2.12:53"), Verdict::Keep),
        (udp("198.51.100.9:53", "10.0.2.14:53"), Verdict::Forget),
        // Nobody takes it.
        (udp("203.0.113.10:99", "10.0.2.11:53"), Verdict::Forget),
        (udp("203.0.113.10:99", "203.0.113.10:99"), Verdict::Keep),
        (tcp("203.0.113.10:99", "10.0.2.11:53"), Verdict::Keep),
    ] {
        assert_eq!(verdict(&services, &flow), expected, "{flow:?}");
    }
}

#[test]
fn flow_that_several_interfaces_may_have_taken_stays_if_one_of_them_keeps_it() {
    let services = services([
        ("a", service(&["203.0.113.10:53/udp"], &["10.0.2.11:53"]).interface("eth0")),
        ("b", service(&["203.0.113.10:53/udp"], &["10.0.2.12:53"]).interface("eth1")),
        ("c", service(&["203.0.113.10:50-59/udp"], &["10.0.2.13"])),
        ("d", service(&["*:80/udp"], &["10.0.2.11:53"]).interface("eth0")),
        // What comes in by eth0 is of the first service.
        ("e", service(&["203.0.113.10:50-59/udp"], &["10.0.2.14"]).interface("eth0")),
    ]);
    let local = |flow: Flow| Flow { client: "10.0.1.1:9".parse().unwrap(), ..flow };
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:53"), Verdict::Keep),
        (udp(VIP, "10.0.2.12:53"), Verdict::Keep),
        (udp(VIP, "10.0.2.13:53"), Verdict::Keep),
        (udp(VIP, "10.0.2.14:53"), Verdict::Forget),
        // What this host sends arrives nowhere.
        (local(udp(VIP, "10.0.2.11:53")), Verdict::Forget),
        (local(udp(VIP, "10.0.2.13:53")), Verdict::Keep),
        // It may have come in elsewhere. If it did, it does not notice, unless its source was translated.
        (udp("198.51.100.9:80", "198.51.100.9:80"), Verdict::Forget),
        (
            Flow { back_to: "192.0.2.1:1".parse().unwrap(), ..udp("198.51.100.9:80", "198.51.100.9:80") },
            Verdict::Keep,
        ),
        (udp("224.0.0.9:80", "224.0.0.9:80"), Verdict::Keep),
        (udp("255.255.255.255:80", "255.255.255.255:80"), Verdict::Keep),
    ] {
        assert_eq!(verdict(&services, &flow), expected, "{flow:?}");
    }
}

#[test]
fn backend_keeps_its_flows_unless_it_is_unhealthy_or_disabled() {
    let listen = &["203.0.113.10:80", "203.0.113.10:80/udp"];
    let backends = &["10.0.2.11:80", "10.0.2.12:80*0", "10.0.2.13:80"];
    let of = |change: &dyn Fn(Service) -> Service| services([("web", change(service(listen, backends)))]);
    let (first, to) = ("10.0.2.11:80", "203.0.113.10:80");
    let cases: [(Services, Verdict, Verdict); 6] = [
        (of(&|web| web), Verdict::Keep, Verdict::Keep),
        (of(&|web| web.resets()), Verdict::Keep, Verdict::Keep),
        (of(&|web| web.unhealthy(first)), Verdict::Forget, Verdict::Keep),
        (of(&|web| web.unhealthy(first).resets()), Verdict::Forget, Verdict::Reset),
        (of(&|web| web.disabled(first).resets()), Verdict::Forget, Verdict::Keep),
        // With `on_empty: use-all`.
        (
            of(&|web| {
                let mut web = web.unhealthy(first).resets();
                web.backends[0].weight = 1;
                web
            }),
            Verdict::Keep,
            Verdict::Keep,
        ),
    ];
    for (services, of_udp, established) in cases {
        let flow = tcp(to, first);
        assert_eq!(verdict(&services, &udp(to, first)), of_udp, "{services:?}");
        assert_eq!(verdict(&services, &flow), established, "{services:?}");
        assert_eq!(verdict(&services, &Flow { is_opening: true, ..flow }), of_udp, "{services:?}");
        assert_eq!(verdict(&services, &Flow { is_active: false, ..flow }), Verdict::Keep);
        assert_eq!(verdict(&services, &udp(to, "10.0.2.12:80")), Verdict::Keep, "one of weight 0");
    }
}

#[test]
fn connection_is_reset_only_by_the_service_that_takes_it() {
    let services = services([
        ("a", service(&["*:80"], &["10.0.2.11:80"]).unhealthy("10.0.2.11:80").resets()),
        ("b", service(&["203.0.113.10:80"], &["10.0.2.11:80"])),
        ("c", service(&["198.51.100.1:79-81"], &["10.0.2.11:80"])),
    ]);
    assert_eq!(verdict(&services, &tcp("203.0.113.10:80", "10.0.2.11:80")), Verdict::Keep);
    assert_eq!(verdict(&services, &tcp("10.0.1.1:80", "10.0.2.11:80")), Verdict::Reset);
    assert_eq!(verdict(&services, &tcp("198.51.100.1:80", "10.0.2.11:80")), Verdict::Keep, "it may be c's");
}

#[test]
fn flows_of_clients_that_are_refused_end() {
    let dns = |allow: &[&str], deny: &[&str]| {
        services([(
            "dns",
            service(&["203.0.113.10:53/udp", "203.0.113.10:53"], &["10.0.2.11:53"]).guard(allow, deny),
        )])
    };
    for (allow, deny, expected) in [
        (&[][..], &[][..], Verdict::Keep),
        (&[], &["198.51.100.0/24"], Verdict::Forget),
        (&[], &["198.51.100.0/30"], Verdict::Keep),
        (&["198.51.100.0/24"], &[], Verdict::Keep),
        (&["198.51.100.0/24"], &["198.51.100.7/32"], Verdict::Forget),
        (&["192.0.2.0/24"], &[], Verdict::Forget),
        (&["::/0"], &[], Verdict::Forget),
    ] {
        let mut services = dns(allow, deny);
        let is_refused = expected == Verdict::Forget;
        for (on_deny, of_established) in [(OnDeny::Keep, Verdict::Keep), (OnDeny::Reset, Verdict::Reset)] {
            services.values_mut().for_each(|service| service.on_deny = on_deny);
            let established = tcp(VIP, "10.0.2.11:53");
            let opening = Flow { is_opening: true, ..established };
            let told = format!("{allow:?} {deny:?} {on_deny:?}");
            assert_eq!(verdict(&services, &udp(VIP, "10.0.2.11:53")), expected, "{told}");
            assert_eq!(verdict(&services, &opening), expected, "{told}");
            let of_established = if is_refused { of_established } else { Verdict::Keep };
            assert_eq!(verdict(&services, &established), of_established, "{told}");
            let closed = Flow { is_active: false, ..established };
            assert_eq!(verdict(&services, &closed), Verdict::Keep, "{told}");
            let elsewhere = tcp(VIP, "10.0.2.12:53");
            assert_eq!(verdict(&services, &elsewhere), Verdict::Keep, "not to one of its backends: {told}");
        }
    }
}

#[test]
fn connections_of_a_client_that_one_service_refuses_stay_with_the_others() {
    let deny = &["198.51.100.0/24"];
    let services = services([
        ("a", service(&["203.0.113.10:80"], &["10.0.2.11:80"]).guard(&[], deny).resets_refused()),
        ("b", service(&["203.0.113.11:80"], &["10.0.2.11:80"])),
        ("c", service(&["*:80"], &["10.0.2.11:80", "10.0.2.12:80"]).guard(&[], deny)),
        ("d", service(&["10.0.1.1:81"], &["10.0.2.12:80"]).interface("eth0")),
        ("e", service(&["*:81"], &["10.0.2.12:80"]).guard(&[], deny).resets_refused()),
    ]);
    for (flow, expected) in [
        (tcp("203.0.113.10:80", "10.0.2.11:80"), Verdict::Reset),
        (tcp("203.0.113.11:80", "10.0.2.11:80"), Verdict::Keep),
        // Where c led before a came.
        (tcp("203.0.113.10:80", "10.0.2.12:80"), Verdict::Keep),
        (tcp("10.0.1.1:80", "10.0.2.11:80"), Verdict::Keep),
        // It may have come in where d takes it.
        (tcp("10.0.1.1:81", "10.0.2.12:80"), Verdict::Keep),
        (tcp("203.0.113.10:81", "10.0.2.12:80"), Verdict::Reset),
    ] {
        assert_eq!(verdict(&services, &flow), expected, "{flow:?}");
        let client = "198.18.0.1:5300".parse().unwrap();
        assert_eq!(verdict(&services, &Flow { client, ..flow }), Verdict::Keep, "{flow:?}");
    }
}

#[test]
fn connections_of_a_client_are_reset_whatever_its_backend_is() {
    let web = || service(&["203.0.113.10:80"], &["10.0.2.11:80"]).guard(&[], &["0.0.0.0/0"]);
    let flow = tcp("203.0.113.10:80", "10.0.2.11:80");
    let name = "10.0.2.11:80";
    for (web, expected) in [
        (web().resets_refused().disabled(name), Verdict::Reset),
        (web().resets_refused().unhealthy(name), Verdict::Reset),
        (web().resets().unhealthy(name), Verdict::Reset),
        (web().resets().disabled(name), Verdict::Keep),
        (Service { enabled: false, ..web().resets_refused() }, Verdict::Keep),
    ] {
        assert_eq!(verdict(&services([("web", web)]), &flow), expected);
    }
}

/// Whether a change concerns an established connection of a service that is changed.
#[test]
fn change_of_the_guard_concerns_connections() {
    let web = || service(&["203.0.113.10:80"], &["10.0.2.11:80"]);
    let deny = &["198.51.100.0/24"];
    let flow = tcp("203.0.113.10:80", "10.0.2.11:80");
    for (before, after, expected) in [
        (web().resets_refused(), web().guard(&[], deny).resets_refused(), true),
        (web().guard(&[], deny), web().guard(&[], deny).resets_refused(), true),
        (web(), web().resets_refused(), false),
        (web().guard(&[], deny).resets_refused(), web().guard(&[], deny).resets_refused(), false),
    ] {
        let [before, after] = [before, after].map(|web| services([("web", web)]));
        let affected = Affected::by(&Transition::between(&before, &after));
        assert_eq!(affected.soon.wanted().contains(&flow, |_| false), expected, "{before:?} {after:?}");
        assert_eq!(affected.is_news, expected);
    }
}

#[test]
fn table_that_was_found_tells_which_flows_it_translated() {
    let services = services([
        ("any", service(&["*:80"], &["10.0.2.11", "[fd00::11]"]).preserve()),
        ("dns", service(&["203.0.113.10:53/udp"], &["10.0.2.11:5353", "10.0.2.12:5353*0"])),
        ("range", service(&["203.0.113.10:70-79/udp"], &["10.0.2.13"])),
        ("shared", service(&["203.0.113.10:60/udp"], &["10.0.2.14"]).scheduler(Scheduler::Random)),
        ("six", service(&["[2001:db8::10]:90-99/udp"], &["[fd00::12]:9"])),
        ("six-kept", service(&["[2001:db8::10]:70-79/udp"], &["[fd00::13]"])),
    ]);
    let rendered = render(&services, None);
    let found = Found::of(&rendered.table);
    let affected = Affected::at_start(&Services::new(), found);
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:5353"), true),
        (udp(VIP, "10.0.2.12:5353"), true),
        (udp(VIP, "10.0.2.11:53"), false),
        (udp(VIP, "10.0.9.9:5353"), false),
        (udp("203.0.113.10:54", "10.0.2.11:5353"), false),
        (udp("203.0.113.10:71", "10.0.2.13:71"), true),
        (udp("203.0.113.10:71", "10.0.2.13:72"), false),
        (udp("203.0.113.10:60", "10.0.2.14:60"), true),
        (udp("203.0.113.10:60", "10.0.2.14:61"), false),
        (Flow { protocol: TCP, ..udp("203.0.113.10:60", "10.0.2.14:60") }, false),
        (udp("[2001:db8::10]:91", "[fd00::12]:9"), true),
        (udp("[2001:db8::10]:71", "[fd00::13]:71"), true),
        (udp("[2001:db8::10]:71", "[fd00::13]:72"), false),
        (tcp("10.9.9.9:80", "10.0.2.11:80"), true),
        (tcp("[2001:db8::1]:80", "[fd00::11]:80"), true),
        (tcp("10.9.9.9:81", "10.0.2.11:81"), false),
        (udp(VIP, VIP), false),
    ] {
        assert_eq!(affected.later.wanted().contains(&flow, |_| false), expected, "{flow:?}");
    }
}

#[test]
fn table_that_was_found_is_empty_unless_it_leads_a_listener_to_a_backend() {
    let found = |service: Service| Found::of(&render(&services([("web", service)]), None).table);
    assert!(Found::of(&Table::default()).is_empty());
    assert!(found(service(&["203.0.113.10:80"], &[])).is_empty(), "no backends");
    let random = |listen| service(&[listen], &["10.0.2.11"]).scheduler(Scheduler::Random);
    assert!(!found(random("203.0.113.10:80")).is_empty(), "only the map of services names the listener");
    assert!(!found(random("203.0.113.10:80-89")).is_empty(), "only a chain names the listener");
    let mut table = render(&services([("web", random("203.0.113.10:80"))]), None).table;
    table.sets.remove(&"services4".into());
    assert!(Found::of(&table).is_empty(), "no listener");
}

/// Another statement of the rule: tries every service for every way in that the packet may have taken.
fn modelled(services: &Services, flow: &Flow) -> Verdict {
    let moves = !flow.protocol.has_connections() || flow.is_opening;
    let is_live = flow.is_active && flow.is_translated;
    if !moves && !is_live {
        return Verdict::Keep;
    }
    let from_here = is_local(flow.client.ip());
    let ways: &[Option<&str>] =
        if from_here { &[None] } else { &[Some("eth0"), Some("eth1"), Some("elsewhere")] };
    // `None`: no service takes it.
    let mut fates = BTreeSet::new();
    for way in ways {
        // An address that is not known to be local may be so.
        for local in [true, is_local(flow.to.ip())] {
            let takers = services
                .values()
                .flat_map(|service| service.listeners.iter().map(move |listener| (service, listener)));
            let takes = |(service, listener): &(&Service, &Listener)| {
                service.enabled
                    && listener.protocol == flow.protocol
                    && service.takes(listener, Ip::of(flow.to.ip()))
                    && (listener.ports.first..=listener.ports.last).contains(&flow.to.port())
                    && match (listener.address, &service.interface) {
                        (Address::Any, None) => local,
                        (Address::Any, Some(on)) => *way == Some(on.as_str()),
                        (Address::Exact(address), None) => address == flow.to.ip(),
                        (Address::Exact(address), Some(on)) => {
                            address == flow.to.ip() && *way == Some(on.as_str())
                        }
                    }
            };
            let rank = |(service, listener): &(&Service, &Listener)| {
                let ports = match listener.ports.as_single() {
                    Some(_) => 0,
                    None if listener.ports.count() < 65535 => 1,
                    None => 2,
                };
                let any = listener.address == Address::Any;
                let class = match service.interface {
                    Some(_) => 1,
                    None if ports == 0 && !any => 0,
                    None if ports == 0 => 2,
                    None => 3,
                };
                (class, ports, any)
            };
            let taker = takers.filter(takes).min_by_key(rank);
            fates.insert(taker.map(|(service, listener)| {
                let of = service.backends.iter().filter(|backend| {
                    let port = backend.port.translate(listener.ports, flow.to.port());
                    SocketAddr::new(backend.address, port) == flow.backend
                });
                let refuses = service.guard.as_ref().is_some_and(|guard| {
                    let is_in =
                        |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&flow.client.ip()));
                    is_in(&guard.deny) || !guard.allow.is_empty() && !is_in(&guard.allow)
                });
                of.map(|backend| {
                    let is_down = service.unhealthy.contains(&backend.name);
                    let is_out = service.disabled.contains(&backend.name);
                    let stays = backend.weight > 0 || !is_down && !is_out;
                    let resets = is_down && !stays && service.on_down == OnDown::Reset
                        || refuses && service.on_deny == OnDeny::Reset;
                    match stays && !refuses {
                        true => Verdict::Keep,
                        false if resets => Verdict::Reset,
                        false if moves => Verdict::Forget,
                        false => Verdict::Keep,
                    }
                })
                .min()
            }));
        }
    }
    let takes = fates.iter().any(Option::is_some);
    let led: Vec<Verdict> = fates.iter().flatten().flatten().copied().collect();
    match led.iter().min() {
        Some(Verdict::Keep) => Verdict::Keep,
        Some(Verdict::Reset) if !moves => Verdict::Reset,
        _ if !moves => Verdict::Keep,
        Some(_) => Verdict::Forget,
        None if flow.is_translated => Verdict::Forget,
        None if takes && !fates.contains(&None) => Verdict::Forget,
        None => {
            let by_interface =
                !from_here && services.values().any(|s| s.interface.is_some() && listens(s, flow));
            if by_interface && flow.back_to == flow.client { Verdict::Forget } else { Verdict::Keep }
        }
    }
}

/// Whether a service takes a flow if that arrives where it listens.
fn listens(service: &Service, flow: &Flow) -> bool {
    let takes = |listener: &Listener| {
        [Address::Any, Address::Exact(flow.to.ip())].contains(&listener.address)
            && listener.protocol == flow.protocol
            && service.takes(listener, Ip::of(flow.to.ip()))
            && (listener.ports.first..=listener.ports.last).contains(&flow.to.port())
    };
    service.enabled && service.listeners.iter().any(takes)
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let clients = select(vec!["198.51.100.7", "192.0.2.200", "10.0.1.1"]);
    let v4 = (
        clients,
        select(vec!["203.0.113.10", "203.0.113.11", "198.51.100.1", "10.0.1.1"]),
        select(vec!["10.0.2.11", "10.0.2.12", "10.0.2.13"]),
    );
    let clients6 = select(vec!["2001:db8:c::7", "2001:db8:bad::7", "2001:db8::10"]);
    let v6 = (clients6, select(vec!["2001:db8::10", "2001:db8::11"]), select(vec!["fd00::11", "fd00::12"]));
    let ports = (select(vec![79u16, 80, 81, 90]), select(vec![79u16, 80, 81, 90, 2000, 2001, 8080]));
    let kind =
        (select(&Protocol::ALL[..]), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    (prop_oneof![3 => v4, 1 => v6], ports, kind).prop_map(
        |((client, to, backend), (port, other), (protocol, translated, opening, closed, masked))| {
            let client = SocketAddr::new(client.parse().unwrap(), 9);
            let to = SocketAddr::new(to.parse().unwrap(), port);
            let backend = SocketAddr::new(backend.parse().unwrap(), other);
            Flow {
                protocol,
                client,
                to,
                backend: if translated { backend } else { to },
                back_to: if masked { SocketAddr::new(backend.ip(), 1) } else { client },
                is_translated: translated,
                is_opening: protocol.has_connections() && opening,
                is_active: !closed,
            }
        },
    )
}

/// Services of which some backends are unhealthy or disabled.
fn any_standing() -> impl Strategy<Value = Services> {
    (any_services(), prop::collection::vec(0u8..8, 25)).prop_map(|(mut services, kinds)| {
        let mut kinds = kinds.into_iter().cycle();
        for service in services.values_mut() {
            for backend in &mut service.backends {
                match kinds.next() {
                    Some(0) => service.unhealthy.push(backend.name.clone()),
                    Some(1) => service.disabled.push(backend.name.clone()),
                    _ => continue,
                }
                backend.weight = 0;
            }
        }
        services
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn verdict_is_that_of_the_model(
        services in any_standing(),
        flows in prop::collection::vec(any_flow(), 1..40),
    ) {
        let judge = Judge::new(&services);
        for flow in flows {
            prop_assert_eq!(judge.verdict(&flow, is_local), modelled(&services, &flow), "{:?}", flow);
        }
    }

    /// Of a flow that was right where it was, every change of the verdict is noticed.
    #[test]
    fn change_concerns_all_flows_that_it_does_not_keep(
        before in any_standing(),
        others in any_standing(),
        kind in 0u8..3,
        which in 0usize..5,
        flows in prop::collection::vec(any_flow(), 1..40),
    ) {
        // Everything is another, or one service goes, or gets another guard and other weights.
        let mut after = if kind == 0 { others.clone() } else { before.clone() };
        if let Some(name) = before.keys().nth(which).filter(|_| kind > 0) {
            match others.values().next() {
                Some(other) if kind == 2 => {
                    let service = after.get_mut(name).unwrap();
                    service.guard.clone_from(&other.guard);
                    service.interface.clone_from(&other.interface);
                    service.on_deny = other.on_deny;
                    service.backends.iter_mut().for_each(|backend| backend.weight ^= 1);
                    service.unhealthy = service.disabled.drain(..).collect();
                }
                _ => drop(after.remove(name)),
            }
        }
        let affected = Affected::by(&Transition::between(&before, &after));
        let (soon, later) = (affected.soon.wanted(), affected.later.wanted());
        let (old, new, had) = (Judge::new(&before), Judge::new(&after), Owners::of(&before));
        for flow in flows {
            // Connections that were never ours are no concern.
            let way = Way { protocol: flow.protocol, to: flow.to, backend: flow.backend };
            let moves = !flow.protocol.has_connections() || flow.is_opening;
            if !moves && had.backends(&way).next().is_none() {
                continue;
            }
            let (was, is) = (old.verdict(&flow, is_local), new.verdict(&flow, is_local));
            if was == Verdict::Keep && is != Verdict::Keep {
                prop_assert!(affected.is_news, "{flow:?} {was:?} {is:?}");
                prop_assert!(soon.contains(&flow, is_local) || later.contains(&flow, is_local), "{flow:?} {was:?} {is:?}");
            }
            prop_assert!(was == is || affected.is_news, "{flow:?} {was:?} {is:?}");
        }
    }
}
