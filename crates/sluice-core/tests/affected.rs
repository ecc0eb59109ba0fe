//! Flows that are inspected after a change: all that may need an action, and no others.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::{Services, With, listener, service, services};
use sluice_core::flows::{Affected, Flow, FlowSelector, Scope, TableEndpoints, Target};
use sluice_core::model::Transition;
use sluice_core::model::{Guard, Limits, OnDeny, OnDown, Protocol, Service};
use sluice_core::render::render;
use sluice_nft::Ip;

/// Looks as `203.0.113.10:53/udp to 10.0.2.11:53`, or `203.0.113.10:53/udp untranslated`.
fn selectors(scope: &Scope) -> BTreeSet<String> {
    let target = |target: Target| match target {
        Target::Backend { address, ports } => format!("to {address}:{ports}"),
        Target::Untranslated => "untranslated".to_owned(),
        Target::Translated => "translated".to_owned(),
    };
    scope.selectors.iter().map(|look| format!("{} {}", look.listener, target(look.target))).collect()
}

/// The flows that a change affects: soon, later, and whether any action may change.
fn concerns(before: &Services, after: &Services) -> (BTreeSet<String>, BTreeSet<String>, bool) {
    let affected = Affected::by(&Transition::between(before, after));
    (selectors(&affected.soon), selectors(&affected.later), affected.is_news)
}

fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

const LISTEN: &str = "203.0.113.10:53/udp";
const UNTRANSLATED: &str = "203.0.113.10:53/udp untranslated";
const TRANSLATED: &str = "203.0.113.10:53/udp translated";
const TO_FIRST: &str = "203.0.113.10:53/udp to 10.0.2.11:53";
const TO_SECOND: &str = "203.0.113.10:53/udp to 10.0.2.12:54";

fn dns() -> Service {
    service(&[LISTEN], &["10.0.2.11", "10.0.2.12:54"])
}

/// Its second backend fails its probes.
fn failing(mut dns: Service) -> Service {
    dns.backends[1].weight = 0;
    dns.unhealthy = vec![dns.backends[1].name.clone()];
    dns
}

fn guarded(allow: &[&str], deny: &[&str], limits: Limits) -> Service {
    let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
    let guard = Guard { allow: nets(allow), deny: nets(deny), limits, ..Guard::default() };
    Service { guard: Some(Arc::new(guard)), ..dns() }
}

#[test]
fn change_of_a_service_concerns_flows_to_backends_that_are_treated_otherwise() {
    let one = |service: Service| services([("dns", service)]);
    let none = BTreeSet::new;
    let heavier = {
        let mut dns = dns();
        dns.backends[0].weight = 7;
        dns
    };
    let renamed = {
        let mut dns = dns();
        dns.backends[0].name = dns.backends[1].name.clone();
        dns.backends[1].name = self::dns().backends[0].name.clone();
        dns
    };
    let more = service(&[LISTEN], &["10.0.2.11", "10.0.2.12:54", "10.0.2.11:54"]);
    let fewer = service(&[LISTEN], &["10.0.2.11"]);
    let on_another_port = service(&[LISTEN], &["10.0.2.11", "10.0.2.12:55"]);
    let drained = |mut dns: Service| {
        dns.backends.iter_mut().for_each(|backend| backend.weight = 0);
        dns
    };
    let reset = |dns| Service { on_down: OnDown::Reset, ..failing(dns) };
    let allow = |net| guarded(&[net], &[], Limits::default());
    let deny = |net| guarded(&[], &[net], Limits::default());
    let limited = guarded(&["::/0"], &[], Limits { connections_per_client: Some(9), ..Limits::default() });
    let denied_are_reset = Service { on_deny: OnDeny::Reset, ..deny("192.0.2.0/24") };
    for (before, after, soon, later, is_news) in [
        (dns(), dns(), none(), none(), false),
        (dns(), heavier, none(), none(), false),
        (dns(), renamed, none(), none(), false),
        (dns(), failing(dns()), set([TO_SECOND]), none(), true),
        // A flow that was forgotten is kept from now on.
        (failing(dns()), dns(), none(), none(), true),
        (failing(dns()), reset(dns()), set([TO_SECOND]), none(), true),
        // Flows that were not kept until now.
        (dns(), more.clone(), none(), none(), true),
        (dns(), fewer.clone(), none(), set([TO_SECOND]), true),
        (dns(), on_another_port, none(), set([TO_SECOND]), true),
        (more, fewer, none(), set([TO_SECOND, "203.0.113.10:53/udp to 10.0.2.11:54"]), true),
        // Packets of refused clients may have passed untranslated.
        (dns(), drained(dns()), set([UNTRANSLATED]), none(), true),
        (drained(dns()), dns(), set([UNTRANSLATED]), none(), true),
        // Other clients are let in.
        (dns(), deny("192.0.2.0/24"), set([TO_FIRST, TO_SECOND]), none(), true),
        (deny("192.0.2.0/24"), dns(), set([TO_FIRST, TO_SECOND]), none(), true),
        (deny("192.0.2.0/24"), deny("192.0.2.0/25"), set([TO_FIRST, TO_SECOND]), none(), true),
        (deny("192.0.2.0/24"), allow("192.0.2.0/24"), set([TO_FIRST, TO_SECOND]), none(), true),
        (allow("192.0.2.0/24"), allow("192.0.2.0/25"), set([TO_FIRST, TO_SECOND]), none(), true),
        (allow("::/0"), limited, none(), none(), false),
        (deny("192.0.2.0/24"), denied_are_reset, set([TO_FIRST, TO_SECOND]), none(), true),
        (dns(), Service { on_deny: OnDeny::Reset, ..dns() }, none(), none(), false),
    ] {
        let (before, after) = (one(before), one(after));
        assert_eq!(concerns(&before, &after), (soon, later, is_news), "{before:?}\n{after:?}");
    }
}

#[test]
fn listener_that_comes_goes_or_moves_concerns_all_its_flows() {
    let one = |service: Service| services([("dns", service)]);
    let both = set([TO_FIRST, TO_SECOND]);
    let off = Service { enabled: false, ..dns() };
    for (before, after, later) in [
        // Another program may have translated flows before.
        (Services::new(), one(dns()), set([TRANSLATED])),
        (one(dns()), Services::new(), both.clone()),
        (one(dns()), one(off), both.clone()),
        (one(dns()), one(dns().interface("eth0")), both.clone()),
        (one(dns().interface("eth0")), one(dns().interface("eth1")), both.clone()),
        (one(dns().interface("eth0")), one(dns()), set([TRANSLATED, TO_FIRST, TO_SECOND])),
        // Another service takes over.
        (
            one(dns()),
            services([("other", service(&[LISTEN], &["10.0.2.19"]))]),
            set([TRANSLATED, TO_FIRST, TO_SECOND]),
        ),
    ] {
        let concerned = concerns(&before, &after);
        assert_eq!(concerned, (set([UNTRANSLATED]), later, true), "{before:?}\n{after:?}");
    }
}

#[test]
fn listener_that_comes_concerns_flows_that_it_takes_from_wider_ones() {
    let narrow = ["203.0.113.10:53/udp", "*:60/udp", "203.0.113.10:70-79/udp", "[2001:db8::10]:53/udp"];
    let held = services([
        ("another-address", service(&["203.0.113.11:50-79/udp"], &["10.0.2.1"])),
        ("another-port", service(&["203.0.113.10:54-59/udp"], &["10.0.2.2"])),
        ("another-protocol", service(&["203.0.113.10:50-79", "*:50-79"], &["10.0.2.3"])),
        ("six", service(&["[2001:db8::10]:50-79/udp"], &["[fd00::4]"])),
        ("wide", service(&["*:50-79/udp"], &["10.0.2.5"])),
        ("wildcard", service(&["*:53/udp"], &["10.0.2.6:1"])),
        ("before-all", service(&["203.0.113.10:50-79/udp"], &["10.0.2.7"]).interface("eth0")),
    ]);
    let later = |name: &str, service: Service| {
        let mut after = held.clone();
        after.extend(services([(name, service)]));
        concerns(&held, &after).1
    };
    let [exact, any, range, six] = narrow.map(|listen| service(&[listen], &["10.0.2.99", "[fd00::99]"]));
    // Flows that arrived through an interface belonged to its listener, unless the new one is exact.
    let of_exact = ["53/udp to 10.0.2.5:50-79", "53/udp to 10.0.2.6:1", "53/udp to 10.0.2.7:50-79"];
    let with = |selectors: &[String], all: &str| {
        selectors.iter().cloned().chain([format!("{all} translated")]).collect()
    };
    let of_exact = of_exact.map(|to| format!("203.0.113.10:{to}"));
    assert_eq!(later("new", exact.clone()), with(&of_exact, LISTEN));
    // A single port has precedence over several, whatever the address.
    let of_any = ["10.0.2.1:50-79", "10.0.2.5:50-79", "fd00::4:50-79"];
    assert_eq!(later("new", any), with(&of_any.map(|to| format!("*:60/udp to {to}")), "*:60/udp"));
    let of_range = ["203.0.113.10:70-79/udp to 10.0.2.5:50-79".to_owned()];
    assert_eq!(later("new", range), with(&of_range, "203.0.113.10:70-79/udp"));
    let of_six = ["[2001:db8::10]:53/udp to fd00::4:50-79".to_owned()];
    assert_eq!(later("new", six), with(&of_six, "[2001:db8::10]:53/udp"));
    assert_eq!(later("new", exact.interface("eth1")), of_exact[..2].iter().cloned().collect());
}

fn flow(protocol: Protocol, to: &str, backend: &str) -> Flow {
    let [client, to, backend]: [SocketAddr; 3] =
        ["198.51.100.7:5300", to, backend].map(|text| text.parse().unwrap());
    let is_translated = to != backend;
    Flow { protocol, client, to, backend, back_to: client, is_translated, is_opening: false, is_active: true }
}

#[test]
fn look_is_at_flows_of_its_listener_to_its_target_only() {
    let to = |listen: &str, address: &str, port: &str| {
        let ports = listener(&format!("*:{port}")).ports;
        let target = Target::Backend { address: address.parse().unwrap(), ports };
        FlowSelector { listener: listener(listen), ip: Ip::of(address.parse().unwrap()), target }
    };
    let untranslated =
        |listen| FlowSelector { listener: listener(listen), ip: Ip::V4, target: Target::Untranslated };
    let translated = |listen| FlowSelector { target: Target::Translated, ..untranslated(listen) };
    let selectors = [
        to("203.0.113.10:53/udp", "10.0.2.11", "53"),
        to("203.0.113.10:60-69/udp", "10.0.2.12", "160-169"),
        to("*:80", "fd00::11", "80"),
        untranslated("203.0.113.10:53/udp"),
        untranslated("*:90-99/udp"),
        translated("203.0.113.10:75/udp"),
        translated("*:80-89/udp"),
    ];
    let scope = Scope { selectors: selectors.into(), found: None };
    let desired = scope.index();
    for (protocol, to, backend, expected) in [
        (Protocol::Udp, "203.0.113.10:53", "10.0.2.11:53", true),
        (Protocol::Tcp, "203.0.113.10:53", "10.0.2.11:53", false),
        (Protocol::Udp, "203.0.113.11:53", "10.0.2.11:53", false),
        (Protocol::Udp, "203.0.113.10:54", "10.0.2.11:53", false),
        (Protocol::Udp, "203.0.113.10:53", "10.0.2.12:53", false),
        (Protocol::Udp, "203.0.113.10:53", "10.0.2.11:54", false),
        (Protocol::Udp, "203.0.113.10:53", "203.0.113.10:53", true),
        (Protocol::Udp, "203.0.113.10:61", "10.0.2.12:161", true),
        (Protocol::Udp, "203.0.113.10:70", "10.0.2.12:161", false),
        (Protocol::Udp, "203.0.113.10:61", "10.0.2.12:170", false),
        (Protocol::Udp, "203.0.113.10:61", "203.0.113.10:61", false),
        (Protocol::Tcp, "[2001:db8::1]:80", "[fd00::11]:80", true),
        (Protocol::Tcp, "[2001:db8::1]:80", "[2001:db8::1]:80", false),
        (Protocol::Udp, "198.51.100.1:91", "198.51.100.1:91", true),
        (Protocol::Udp, "198.51.100.1:91", "10.0.2.11:53", false),
        (Protocol::Udp, "[2001:db8::1]:91", "[2001:db8::1]:91", false),
        (Protocol::Udp, "198.51.100.1:89", "198.51.100.1:89", false),
        (Protocol::Udp, "203.0.113.10:75", "10.0.9.9:1", true),
        (Protocol::Udp, "203.0.113.10:75", "203.0.113.10:75", false),
        (Protocol::Udp, "203.0.113.10:81", "10.0.9.9:1", true),
        (Protocol::Udp, "203.0.113.10:81", "203.0.113.10:81", false),
        // Not an address of this host.
        (Protocol::Udp, "198.51.100.1:81", "10.0.9.9:1", false),
    ] {
        let is_local = |address: IpAddr| address.to_string() == "203.0.113.10";
        let found = desired.contains(&flow(protocol, to, backend), is_local);
        assert_eq!(found, expected, "{protocol} {to} {backend}");
    }
    // A listener on all addresses takes both IP versions, a look only one.
    let v4 = flow(Protocol::Tcp, "203.0.113.10:80", "10.0.2.11:80");
    let backend = "[fd00::11]:80".parse().unwrap();
    assert!(!desired.contains(&Flow { backend, ..v4 }, |_| true));
}

#[test]
fn affected_flows_of_two_changes_are_those_of_either() {
    let (empty, with_dns) = (Services::new(), services([("dns", dns())]));
    let table = render(&with_dns, None).table;
    let nothing = Affected::default();
    assert!(nothing.soon.is_empty() && nothing.later.is_empty() && !nothing.is_news);

    let start = Affected::at_start(&with_dns, TableEndpoints::of(&table));
    assert_eq!(selectors(&start.soon), set([UNTRANSLATED]));
    assert_eq!(selectors(&start.later), set([TRANSLATED]));
    assert!(start.is_news && start.later.found.is_some());
    let on_eth0 = services([("dns", dns().interface("eth0"))]);
    assert_eq!(
        selectors(&Affected::at_start(&on_eth0, TableEndpoints::default()).later),
        set([TO_FIRST, TO_SECOND])
    );

    let gone = Affected::by(&Transition::between(&with_dns, &empty));
    let come = Affected::by(&Transition::between(&empty, &services([("web", service(&["*:80"], &[]))])));
    let translated = flow(Protocol::Udp, "203.0.113.10:53", "10.0.2.11:53");
    for parts in [[&start, &gone, &come], [&come, &gone, &start], [&gone, &nothing, &start]] {
        let mut all = Affected::default();
        for part in parts {
            all.merge(part.clone());
            assert!(all.is_news);
        }
        let expected =
            |of: fn(&Affected) -> &Scope| parts.iter().flat_map(|part| selectors(of(part))).collect();
        assert_eq!(selectors(&all.soon), expected(|part| &part.soon));
        assert_eq!(selectors(&all.later), expected(|part| &part.later));
        assert_eq!(all.later.found, start.later.found);
        assert!(!all.soon.is_empty() && !all.later.is_empty());
    }
    let contains = |scope: &Scope| scope.index().contains(&translated, |_| false);
    assert!(contains(&start.later) && !contains(&start.soon));
}
