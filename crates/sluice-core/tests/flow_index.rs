//! The flow index: owners of flows, in agreement with flow counts.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;

use common::strategy::any_services;
use common::{Services, service, services};
use proptest::prelude::*;
use proptest::sample::select;
use sluice_core::flows::flow_counts::{FlowCounts, Loads};
use sluice_core::flows::flow_index::FlowIndex;
use sluice_core::flows::flow_index::NatTuple;
use sluice_core::model::{Protocol, Service, ServiceName};
use sluice_core::pool::balance::Load;

/// Backends that a flow is of, as `service/backend`.
fn shown(services: &Services, protocol: Protocol, to: &str, backend: &str) -> Vec<String> {
    let way = NatTuple { protocol, to: to.parse().unwrap(), backend: backend.parse().unwrap() };
    let index = FlowIndex::of(services);
    index.backends(&way).map(|(service, backend)| format!("{service}/{backend}")).collect()
}

#[test]
fn flow_is_of_the_backend_where_its_listener_leads() {
    let services = services([
        ("any", service(&["*:80"], &["10.0.2.11:8080"])),
        ("dns", service(&["203.0.113.10:80/udp"], &["10.0.2.11:8080"])),
        ("off", Service { enabled: false, ..service(&["203.0.113.10:82"], &["10.0.2.11:8080"]) }),
        ("range", service(&["203.0.113.10:9000-9009"], &["10.0.2.11:7000-7009", "10.0.2.12"])),
        ("six", service(&["[2001:db8::10]:80"], &["[fd00::1]:80"])),
        ("web", service(&["203.0.113.10:80", "203.0.113.10:81"], &["10.0.2.11:8080", "10.0.2.12"])),
    ]);
    for (protocol, to, backend, expected) in [
        (Protocol::Tcp, "203.0.113.10:80", "10.0.2.11:8080", &["web/10.0.2.11:8080"][..]),
        (Protocol::Tcp, "203.0.113.10:81", "10.0.2.12:81", &["web/10.0.2.12"]),
        (Protocol::Udp, "203.0.113.10:80", "10.0.2.11:8080", &["dns/10.0.2.11:8080"]),
        (Protocol::Tcp, "[2001:db8::10]:80", "[fd00::1]:80", &["six/[fd00::1]:80"]),
        (Protocol::Tcp, "198.51.100.1:80", "10.0.2.11:8080", &["any/10.0.2.11:8080"]),
        (Protocol::Tcp, "203.0.113.10:9003", "10.0.2.11:7003", &["range/10.0.2.11:7000-7009"]),
        (Protocol::Tcp, "203.0.113.10:9003", "10.0.2.12:9003", &["range/10.0.2.12"]),
        (Protocol::Tcp, "203.0.113.10:9003", "10.0.2.11:7004", &[]),
        (Protocol::Tcp, "203.0.113.10:82", "10.0.2.11:8080", &[]),
        (Protocol::Tcp, "203.0.113.10:80", "10.0.2.99:8080", &[]),
        (Protocol::Udp, "203.0.113.10:81", "10.0.2.12:81", &[]),
    ] {
        assert_eq!(shown(&services, protocol, to, backend), expected, "{to} to {backend}");
    }
}

#[test]
fn flow_through_listeners_that_overlap_is_of_all_that_lead_there() {
    let services = services([
        ("any", service(&["*:80"], &["10.0.2.11:8080"])),
        ("range", service(&["203.0.113.10:79-89"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
    ]);
    let both = ["any/10.0.2.11:8080", "range/10.0.2.11:8080"];
    assert_eq!(shown(&services, Protocol::Tcp, "203.0.113.10:80", "10.0.2.11:8080"), both);
    assert_eq!(
        shown(&services, Protocol::Tcp, "203.0.113.10:80", "10.0.2.12:8080"),
        ["range/10.0.2.12:8080"]
    );
}

fn any_way() -> impl Strategy<Value = NatTuple> {
    let v4 = (
        select(vec!["203.0.113.10", "203.0.113.11", "198.51.100.1"]),
        select(vec!["10.0.2.11", "10.0.2.12", "10.0.2.13"]),
    );
    let v6 = (select(vec!["2001:db8::10", "2001:db8::11"]), select(vec!["fd00::11", "fd00::12"]));
    let ports = (select(vec![79, 80, 81, 90]), select(vec![79, 80, 81, 2000, 2001, 8080]));
    (prop_oneof![v4, v6], ports, select(&Protocol::ALL[..])).prop_map(
        |((to, backend), (port, other), protocol)| {
            let to = SocketAddr::new(to.parse().unwrap(), port);
            NatTuple { protocol, to, backend: SocketAddr::new(backend.parse().unwrap(), other) }
        },
    )
}

proptest! {
    #[test]
    fn flows_listed_one_by_one_are_as_many_as_are_counted(
        services in any_services(),
        ways in prop::collection::vec(any_way(), 0..40),
        odd in any::<bool>(),
    ) {
        // Loads of some services equal their loads among all services.
        let desired = |name: &ServiceName| !odd || name.as_str().ends_with(['1', '3']);
        let (index, mut listed, mut flow_counts) = (FlowIndex::of(&services), Loads::new(), FlowCounts::default());
        let one = Load { active: 1, opened: 0 };
        for way in &ways {
            flow_counts.add(*way, one);
            for of in index.backends(way).filter(|(name, _)| desired(name)) {
                listed.entry(of).or_default().active += 1;
            }
        }
        let counted: HashMap<_, _> = flow_counts.by_backend(&services, desired);
        prop_assert_eq!(listed, counted);
    }
}
