//! Flow counts: attribution of flows to backends.

mod common;

use common::{Services, service, services};
use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::flows::flow_index::NatTuple;
use sluice_core::model::Protocol;
use sluice_core::pool::balance::Load;

const TCP: Protocol = Protocol::Tcp;
const UDP: Protocol = Protocol::Udp;

fn way(protocol: Protocol, to: &str, backend: &str) -> NatTuple {
    NatTuple { protocol, to: to.parse().unwrap(), backend: backend.parse().unwrap() }
}

/// Live flows as `service/backend=count`, where two flows were opened for each live one.
fn shown(ways: &[NatTuple], services: &Services) -> Vec<String> {
    let mut flow_counts = FlowCounts::default();
    ways.iter().for_each(|way| flow_counts.add(*way, Load { active: 1, opened: 2 }));
    let loads = flow_counts.by_backend(services, |_| true);
    let mut shown: Vec<_> = loads
        .iter()
        .map(|((service, backend), Load { active, opened })| {
            assert_eq!(*opened, 2 * active, "{service}/{backend}");
            format!("{service}/{backend}={active}")
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn flows_are_of_the_service_they_came_in_through() {
    let services = services([
        ("dns", service(&["203.0.113.10:80/udp"], &["10.0.2.11:8080"])),
        ("six", service(&["[2001:db8::10]:80"], &["[fd00::1]:80"])),
        ("web", service(&["203.0.113.10:80", "203.0.113.10:81"], &["10.0.2.11:8080", "10.0.2.12"])),
    ]);
    let ways = [
        way(TCP, "203.0.113.10:80", "10.0.2.11:8080"),
        way(TCP, "203.0.113.10:80", "10.0.2.11:8080"),
        way(TCP, "203.0.113.10:81", "10.0.2.11:8080"),
        way(TCP, "203.0.113.10:81", "10.0.2.12:81"),
        way(UDP, "203.0.113.10:80", "10.0.2.11:8080"),
        way(TCP, "[2001:db8::10]:80", "[fd00::1]:80"),
        way(TCP, "203.0.113.10:82", "10.0.2.11:8080"),
        way(TCP, "203.0.113.10:80", "10.0.2.11:9999"),
    ];
    let expected = ["dns/10.0.2.11:8080=1", "six/[fd00::1]:80=1", "web/10.0.2.11:8080=3", "web/10.0.2.12=1"];
    assert_eq!(shown(&ways, &services), expected);
}

#[test]
fn flows_through_ranges_and_wildcards_are_those_no_exact_listener_takes() {
    let services = services([
        ("any", service(&["*:80"], &["10.0.2.11:8080"])),
        ("exact", service(&["203.0.113.10:80"], &["10.0.2.11:8080"])),
        ("range", service(&["203.0.113.10:9000-9009"], &["10.0.2.11:7000-7009"])),
    ]);
    let ways = [
        way(TCP, "203.0.113.10:80", "10.0.2.11:8080"),
        way(TCP, "198.51.100.1:80", "10.0.2.11:8080"),
        way(TCP, "203.0.113.10:9003", "10.0.2.11:7003"),
        way(TCP, "203.0.113.10:9003", "10.0.2.11:7004"),
    ];
    let expected = ["any/10.0.2.11:8080=1", "exact/10.0.2.11:8080=1", "range/10.0.2.11:7000-7009=1"];
    assert_eq!(shown(&ways, &services), expected);
}
