//! Random services that could pass validation.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sluice_core::model::{
    Address, BackendPort, Guard, HashOn, InterfaceName, Limits, Listener, Midstream, OnDeny, OnDown, OnEmpty,
    Ports, Scheduler, Service, ServiceName, Source, SourcePorts,
};
use sluice_nft::Rate;

use super::{Services, backend, listener};

const FROM: Source = addresses(SourcePorts::Random);
const FROM_SAME_PORT: Source = addresses(SourcePorts::Keep);

const fn addresses(ports: SourcePorts) -> Source {
    Source::Addresses(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), ports)
}

/// Checks that all clients of the laws pass.
fn guards() -> Vec<Option<Arc<Guard>>> {
    let net = |text: &str| text.parse().unwrap();
    let rate = Rate { packets: 20, unit: 1, burst: 40 };
    let all = Guard { allow: vec![net("0.0.0.0/0"), net("::/0")], ..Guard::default() };
    let nets =
        ["198.18.0.0/15", "198.51.0.0/17", "10.64.0.0/10", "10.0.3.0/24", "10.0.4.0/22", "10.9.0.7/32"];
    let ranges = nets.into_iter().chain(["2001:db8:bad::/48"]).map(net).collect();
    let ranges = Guard { deny: ranges, ..Guard::default() };
    let some = Guard { deny: vec![net("192.0.2.128/25"), net("2001:db8:bad::/48")], ..Guard::default() };
    let limits = Limits { new_connections: Some(rate), connections_per_client: Some(9), ..Limits::default() };
    let limited = Guard { limits, ..some.clone() };
    let all = Guard { drop_invalid: true, ..all };
    [None, None, Some(all), Some(some), Some(ranges), Some(limited)].map(|guard| guard.map(Arc::new)).into()
}

/// Up to five services that share addresses, ports and backends as much as they may.
pub fn any_services() -> impl Strategy<Value = Services> {
    without(clash)
}

/// The same, and no packet matches two listeners.
pub fn disjoint_services() -> impl Strategy<Value = Services> {
    without(|a, on, b, b_on| {
        let any = |l: &Listener| l.address == Address::Any;
        (any(a) || any(b) || a.address == b.address)
            && a.protocol == b.protocol
            && a.ports.overlaps(b.ports)
            && (on.is_none() || b_on.is_none() || on == b_on)
    })
}

type Interface = Option<InterfaceName>;

fn without(
    clash: impl Fn(&Listener, &Interface, &Listener, &Interface) -> bool,
) -> impl Strategy<Value = Services> {
    prop::collection::vec(any_service(), 0..5).prop_map(move |services| {
        let mut taken = Vec::new();
        let mut valid = Services::new();
        for (n, mut service) in services.into_iter().enumerate() {
            let interface = service.interface.clone();
            service.listeners.retain(|listener| {
                let free = !taken.iter().any(|(other, on)| clash(listener, &interface, other, on));
                if free {
                    taken.push((*listener, interface.clone()));
                }
                free
            });
            if !service.listeners.is_empty() {
                valid.insert(ServiceName::new(&format!("s{n}")).unwrap(), service);
            }
        }
        valid
    })
}

/// Whether validation would refuse the two beside each other.
fn clash(a: &Listener, on: &Interface, b: &Listener, b_on: &Interface) -> bool {
    let breadth = |ports: Ports| (ports.as_single().is_some(), ports == Ports::ALL);
    let exact = |l: &Listener| l.address != Address::Any && l.ports.as_single().is_some();
    a.address == b.address
        && a.protocol == b.protocol
        && (on == b_on || exact(a) && exact(b))
        && a.ports.overlaps(b.ports)
        && breadth(a.ports) == breadth(b.ports)
}

fn any_service() -> impl Strategy<Value = Service> {
    let single = vec![
        "203.0.113.10:80",
        "203.0.113.10:81",
        "203.0.113.11:80",
        "203.0.113.10:80/udp",
        "203.0.113.10:80/sctp",
        "*:80",
        "*:81",
        "2001:db8::10:80",
        "2001:db8::10:81",
    ];
    let ranged = vec![
        "203.0.113.10:79-82",
        "203.0.113.10:90-93",
        "203.0.113.10:79-82/sctp",
        "*:80-83",
        "2001:db8::10:79-82",
    ];
    let wide = vec!["203.0.113.10:*", "2001:db8::10:*", "*:*"];
    let kind = prop_oneof![
        3 => (subsequence(single, 1..4), Just(vec!["", ":8080"])),
        1 => (subsequence(ranged, 1..3), Just(vec!["", ":8080", ":2000-2003"])),
        1 => (subsequence(wide, 1..2), Just(vec!["", ":8080"])),
    ];
    kind.prop_flat_map(|(listen, ports)| {
        let backends = vec!["10.0.2.11", "10.0.2.12", "10.0.2.13", "[fd00::11]", "[fd00::12]"];
        let backends = subsequence(backends, 0..5);
        let scheduler = select(vec![
            Scheduler::RoundRobin,
            Scheduler::Random,
            Scheduler::SourceHash(HashOn::Address),
            Scheduler::SourceHash(HashOn::AddressAndPort),
            Scheduler::LeastConnections,
            Scheduler::First,
        ]);
        let source = select(vec![
            Source::Masquerade,
            Source::Masquerade,
            Source::Preserve,
            Source::Auto,
            FROM,
            FROM_SAME_PORT,
        ]);
        let interface = select(vec![None, None, Some("eth0"), Some("eth1")]);
        let details = prop::collection::vec((select(ports), 0u16..4), 5);
        let on_down = select(vec![OnDown::Keep, OnDown::Keep, OnDown::Reset]);
        let on_empty = select(vec![OnEmpty::Reject, OnEmpty::Drop]);
        let on_deny = select(vec![OnDeny::Keep, OnDeny::Reset]);
        let policy = ((on_down, on_deny), on_empty, prop::bool::weighted(0.05));
        let scheduler = (scheduler, policy);
        let affinity = prop::option::weighted(0.3, select(vec![60, 600]));
        let midstream = select(vec![Midstream::Ignore, Midstream::Adopt]);
        let handshake = (prop::bool::weighted(0.2), midstream);
        let clients = (select(guards()), affinity, prop::bool::weighted(0.2), handshake);
        let source = (source, clients);
        (Just(listen), backends, details, scheduler, source, interface, prop::bool::weighted(0.9))
    })
    .prop_map(|(listen, backends, details, scheduled, source, interface, enabled)| {
        let (scheduler, ((on_down, on_deny), on_empty, fixed_grid)) = scheduled;
        let (source, (guard, affinity, leaves, (synproxy, midstream))) = source;
        let service = Service {
            enabled,
            listeners: listen.into_iter().map(listener).collect(),
            interface: interface.map(|name| InterfaceName::new(name).unwrap()),
            scheduler,
            source,
            backends: backends
                .into_iter()
                .zip(details)
                .map(|(address, (port, weight))| backend(&format!("{address}{port}*{weight}")))
                .filter(|backend| !matches!(backend.port, BackendPort::Range(range) if range.count() == 1))
                .collect(),
            on_down,
            on_deny,
            on_empty,
            fixed_grid,
            guard,
            ..Service::default()
        };
        let is_exact = |l: &Listener| l.address != Address::Any && l.ports.as_single().is_some();
        let can_be_affine = service.interface.is_none() && service.listeners.iter().all(is_exact);
        let is_ipv4 = service.backends.iter().all(|backend| backend.address.is_ipv4());
        let synproxy = synproxy && can_be_affine && service.source != Source::Preserve;
        Service {
            affinity: affinity.filter(|_| can_be_affine),
            synproxy,
            midstream: if synproxy { Midstream::Ignore } else { midstream },
            evict_from: service
                .backends
                .iter()
                .take(1)
                .filter(|_| leaves)
                .map(|backend| backend.name.clone())
                .collect(),
            source: match service.source {
                Source::Addresses(..) if !is_ipv4 => Source::Masquerade,
                source => source,
            },
            ..service
        }
    })
}
