//! Actions of the flow policy: cases here, laws in `laws`.

#[path = "../common/mod.rs"]
mod common;
mod laws;
mod model;
mod table_endpoints;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::{Services, With, service, services};
use sluice_core::flows::{Affected, Flow, FlowAction, FlowPolicy};
use sluice_core::model::Transition;
use sluice_core::model::{Guard, OnDeny, OnDown, Protocol, Service};

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

fn action(services: &Services, flow: &Flow) -> FlowAction {
    FlowPolicy::new(services).action(flow, is_local)
}

trait BackendState {
    fn unhealthy(self, backend: &str) -> Self;
    fn disabled(self, backend: &str) -> Self;
    fn resets(self) -> Self;
    fn guard(self, allow: &[&str], deny: &[&str]) -> Self;
    fn resets_refused(self) -> Self;
}

impl BackendState for Service {
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
        ("local", service(&["127.0.0.1:60-69/udp"], &["10.0.2.15"])),
        ("off", Service { enabled: false, ..service(&["203.0.113.10:54/udp"], &["10.0.2.11:53"]) }),
        ("range", service(&["203.0.113.10:50-59/udp", "198.51.100.1:50-59/udp"], &["10.0.2.13"])),
        ("wide", service(&["*:50-59/udp"], &["10.0.2.14"])),
    ]);
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:53"), FlowAction::Keep),
        // Where others led that come after it.
        (udp(VIP, "10.0.2.12:53"), FlowAction::Delete),
        (udp(VIP, "10.0.2.13:53"), FlowAction::Delete),
        // From before the rules.
        (udp(VIP, VIP), FlowAction::Delete),
        (Flow { is_opening: true, ..tcp(VIP, VIP) }, FlowAction::Keep),
        (udp("10.0.1.1:53", "10.0.1.1:53"), FlowAction::Delete),
        (udp("10.0.1.1:53", "10.0.2.12:53"), FlowAction::Keep),
        // It only passes through, or a program of its own sends to itself.
        (udp("198.51.100.9:53", "198.51.100.9:53"), FlowAction::Keep),
        (
            Flow { client: "127.0.0.1:9".parse().unwrap(), ..udp("127.0.0.1:53", "127.0.0.1:53") },
            FlowAction::Keep,
        ),
        // No wildcard takes what this host sends to itself.
        (
            Flow { client: "127.0.0.1:9".parse().unwrap(), ..udp("127.0.0.1:53", "10.0.2.12:53") },
            FlowAction::Delete,
        ),
        // A listener at that address does.
        (
            Flow { client: "127.0.0.1:9".parse().unwrap(), ..udp("127.0.0.1:60", "10.0.2.15:60") },
            FlowAction::Keep,
        ),
        (udp("203.0.113.10:54", "10.0.2.13:54"), FlowAction::Keep),
        (udp("203.0.113.10:54", "10.0.2.13:55"), FlowAction::Delete),
        // A wildcard listener may have matched the flow, if the address is local.
        (udp("198.51.100.1:53", "10.0.2.12:53"), FlowAction::Keep),
        (udp("198.51.100.1:53", "10.0.2.13:53"), FlowAction::Keep),
        (udp("198.51.100.1:53", "198.51.100.1:53"), FlowAction::Delete),
        // Of two wildcards the first takes it, or neither does.
        (udp("198.51.100.9:53", "10.0.2.12:53"), FlowAction::Keep),
        (udp("198.51.100.9:53", "10.0.2.14:53"), FlowAction::Delete),
        // No listener matches it.
        (udp("203.0.113.10:99", "10.0.2.11:53"), FlowAction::Delete),
        (udp("203.0.113.10:99", "203.0.113.10:99"), FlowAction::Keep),
        (tcp("203.0.113.10:99", "10.0.2.11:53"), FlowAction::Keep),
    ] {
        assert_eq!(action(&services, &flow), expected, "{flow:?}");
    }
}

#[test]
fn flow_that_several_interfaces_may_have_taken_stays_if_one_of_them_keeps_it() {
    let services = services([
        ("a", service(&["203.0.113.10:53/udp"], &["10.0.2.11:53"]).interface("eth0")),
        ("b", service(&["203.0.113.10:53/udp"], &["10.0.2.12:53"]).interface("eth1")),
        ("c", service(&["203.0.113.10:50-59/udp"], &["10.0.2.13"])),
        ("d", service(&["*:80/udp"], &["10.0.2.11:53"]).interface("eth0")),
        // Flows that arrive through eth0 belong to the first service.
        ("e", service(&["203.0.113.10:50-59/udp"], &["10.0.2.14"]).interface("eth0")),
    ]);
    let local = |flow: Flow| Flow { client: "10.0.1.1:9".parse().unwrap(), ..flow };
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:53"), FlowAction::Keep),
        (udp(VIP, "10.0.2.12:53"), FlowAction::Keep),
        (udp(VIP, "10.0.2.13:53"), FlowAction::Keep),
        (udp(VIP, "10.0.2.14:53"), FlowAction::Delete),
        // Packets of this host do not arrive through an interface.
        (local(udp(VIP, "10.0.2.11:53")), FlowAction::Delete),
        (local(udp(VIP, "10.0.2.13:53")), FlowAction::Keep),
        // It may have come in elsewhere. If it did, it does not notice, unless its source was translated.
        (udp("198.51.100.9:80", "198.51.100.9:80"), FlowAction::Delete),
        (
            Flow { back_to: "192.0.2.1:1".parse().unwrap(), ..udp("198.51.100.9:80", "198.51.100.9:80") },
            FlowAction::Keep,
        ),
        (udp("224.0.0.9:80", "224.0.0.9:80"), FlowAction::Keep),
        (udp("255.255.255.255:80", "255.255.255.255:80"), FlowAction::Keep),
    ] {
        assert_eq!(action(&services, &flow), expected, "{flow:?}");
    }
}

#[test]
fn backend_keeps_its_flows_unless_it_is_unhealthy_or_disabled() {
    let listen = &["203.0.113.10:80", "203.0.113.10:80/udp"];
    let backends = &["10.0.2.11:80", "10.0.2.12:80*0", "10.0.2.13:80"];
    let of = |change: &dyn Fn(Service) -> Service| services([("web", change(service(listen, backends)))]);
    let (first, to) = ("10.0.2.11:80", "203.0.113.10:80");
    let cases: [(Services, FlowAction, FlowAction); 6] = [
        (of(&|web| web), FlowAction::Keep, FlowAction::Keep),
        (of(&|web| web.resets()), FlowAction::Keep, FlowAction::Keep),
        (of(&|web| web.unhealthy(first)), FlowAction::Delete, FlowAction::Keep),
        (of(&|web| web.unhealthy(first).resets()), FlowAction::Delete, FlowAction::Reset),
        (of(&|web| web.disabled(first).resets()), FlowAction::Delete, FlowAction::Keep),
        // With `on_empty: use-all`.
        (
            of(&|web| {
                let mut web = web.unhealthy(first).resets();
                web.backends[0].weight = 1;
                web
            }),
            FlowAction::Keep,
            FlowAction::Keep,
        ),
    ];
    for (services, of_udp, established) in cases {
        let flow = tcp(to, first);
        assert_eq!(action(&services, &udp(to, first)), of_udp, "{services:?}");
        assert_eq!(action(&services, &flow), established, "{services:?}");
        assert_eq!(action(&services, &Flow { is_opening: true, ..flow }), of_udp, "{services:?}");
        assert_eq!(action(&services, &Flow { is_active: false, ..flow }), FlowAction::Keep);
        assert_eq!(action(&services, &udp(to, "10.0.2.12:80")), FlowAction::Keep, "one of weight 0");
    }
}

#[test]
fn connection_is_reset_only_by_the_service_that_takes_it() {
    let services = services([
        ("a", service(&["*:80"], &["10.0.2.11:80"]).unhealthy("10.0.2.11:80").resets()),
        ("b", service(&["203.0.113.10:80"], &["10.0.2.11:80"])),
        ("c", service(&["198.51.100.1:79-81"], &["10.0.2.11:80"])),
    ]);
    assert_eq!(action(&services, &tcp("203.0.113.10:80", "10.0.2.11:80")), FlowAction::Keep);
    assert_eq!(action(&services, &tcp("10.0.1.1:80", "10.0.2.11:80")), FlowAction::Reset);
    assert_eq!(action(&services, &tcp("198.51.100.1:80", "10.0.2.11:80")), FlowAction::Keep, "it may be c's");
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
        (&[][..], &[][..], FlowAction::Keep),
        (&[], &["198.51.100.0/24"], FlowAction::Delete),
        (&[], &["198.51.100.0/30"], FlowAction::Keep),
        (&["198.51.100.0/24"], &[], FlowAction::Keep),
        (&["198.51.100.0/24"], &["198.51.100.7/32"], FlowAction::Delete),
        (&["192.0.2.0/24"], &[], FlowAction::Delete),
        (&["::/0"], &[], FlowAction::Delete),
    ] {
        let mut services = dns(allow, deny);
        let is_refused = expected == FlowAction::Delete;
        for (on_deny, of_established) in
            [(OnDeny::Keep, FlowAction::Keep), (OnDeny::Reset, FlowAction::Reset)]
        {
            services.values_mut().for_each(|service| service.on_deny = on_deny);
            let established = tcp(VIP, "10.0.2.11:53");
            let opening = Flow { is_opening: true, ..established };
            let told = format!("{allow:?} {deny:?} {on_deny:?}");
            assert_eq!(action(&services, &udp(VIP, "10.0.2.11:53")), expected, "{told}");
            assert_eq!(action(&services, &opening), expected, "{told}");
            let of_established = if is_refused { of_established } else { FlowAction::Keep };
            assert_eq!(action(&services, &established), of_established, "{told}");
            let closed = Flow { is_active: false, ..established };
            assert_eq!(action(&services, &closed), FlowAction::Keep, "{told}");
            let elsewhere = tcp(VIP, "10.0.2.12:53");
            assert_eq!(action(&services, &elsewhere), FlowAction::Keep, "not to one of its backends: {told}");
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
        (tcp("203.0.113.10:80", "10.0.2.11:80"), FlowAction::Reset),
        (tcp("203.0.113.11:80", "10.0.2.11:80"), FlowAction::Keep),
        // Where c led before a came.
        (tcp("203.0.113.10:80", "10.0.2.12:80"), FlowAction::Keep),
        (tcp("10.0.1.1:80", "10.0.2.11:80"), FlowAction::Keep),
        // It may have come in where d takes it.
        (tcp("10.0.1.1:81", "10.0.2.12:80"), FlowAction::Keep),
        (tcp("203.0.113.10:81", "10.0.2.12:80"), FlowAction::Reset),
    ] {
        assert_eq!(action(&services, &flow), expected, "{flow:?}");
        let client = "198.18.0.1:5300".parse().unwrap();
        assert_eq!(action(&services, &Flow { client, ..flow }), FlowAction::Keep, "{flow:?}");
    }
}

#[test]
fn connections_of_a_client_are_reset_whatever_its_backend_is() {
    let web = || service(&["203.0.113.10:80"], &["10.0.2.11:80"]).guard(&[], &["0.0.0.0/0"]);
    let flow = tcp("203.0.113.10:80", "10.0.2.11:80");
    let name = "10.0.2.11:80";
    for (web, expected) in [
        (web().resets_refused().disabled(name), FlowAction::Reset),
        (web().resets_refused().unhealthy(name), FlowAction::Reset),
        (web().resets().unhealthy(name), FlowAction::Reset),
        (web().resets().disabled(name), FlowAction::Keep),
        (Service { enabled: false, ..web().resets_refused() }, FlowAction::Keep),
    ] {
        assert_eq!(action(&services([("web", web)]), &flow), expected);
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
        assert_eq!(affected.soon.index().contains(&flow, |_| false), expected, "{before:?} {after:?}");
        assert_eq!(affected.is_news, expected);
    }
}

#[test]
fn association_is_moved_while_it_opens_and_stays_once_it_is_established() {
    let backends = ["10.0.2.11:2905", "10.0.2.12:2905"];
    let down = service(&["203.0.113.10:2905/sctp"], &backends).unhealthy("10.0.2.11:2905");
    let established = Flow { protocol: Protocol::Sctp, ..udp("203.0.113.10:2905", "10.0.2.11:2905") };
    let opening = Flow { is_opening: true, ..established };
    let udp = Flow { protocol: UDP, ..established };
    // Validation refuses `on_down: reset`; nothing would be sent if it got past.
    for service in [down.clone(), down.resets()] {
        let services = services([("m3ua", service)]);
        assert_eq!(action(&services, &established), FlowAction::Keep);
        assert_eq!(action(&services, &opening), FlowAction::Delete);
        assert_eq!(
            action(&services, &Flow { backend: "10.0.2.12:2905".parse().unwrap(), ..opening }),
            FlowAction::Keep
        );
        assert_eq!(action(&services, &udp), FlowAction::Delete);
    }
}
