//! Services of every kind, for tests of the changes between them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_core::model::{Guard, HashOn, Midstream, OnEmpty, Scheduler, Service, Source, SourcePorts};

use super::{Services, With, service, services};

/// One address, with the clients' ports.
const KEPT: Source = {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1));
    Source::Addresses(address, address, SourcePorts::Keep)
};

pub const TWO: [&str; 2] = ["10.0.2.11:80", "10.0.2.12:80"];

/// Services of many kinds at the same addresses, with a name for each group. No two listeners of a group take one packet.
pub fn kinds() -> Vec<(&'static str, Services)> {
    let web = |backends: &[&str]| service(&["203.0.113.10:80"], backends);
    let adopts = |service| Service { midstream: Midstream::Adopt, ..service };
    let guarded = |deny: &str, drop_invalid| {
        let guard = Guard { deny: vec![deny.parse().unwrap()], drop_invalid, ..Guard::default() };
        Service { guard: Some(Arc::new(guard)), ..web(&TWO) }
    };
    let local = || service(&["203.0.113.11:80"], &TWO[..1]);
    let of_source = |source| {
        let other = service(&["203.0.113.10:81"], &TWO);
        services([("web", Service { source, ..web(&TWO) }), ("other", other)])
    };
    let one = |service| services([("web", service)]);
    vec![
        ("nothing", Services::new()),
        ("round robin", one(web(&TWO))),
        ("another backend", one(web(&["10.0.2.13:80"]))),
        ("no backend", one(Service { on_empty: OnEmpty::Drop, ..web(&[]) })),
        ("random", one(web(&TWO).scheduler(Scheduler::Random))),
        ("random, one backend", one(web(&TWO[..1]).scheduler(Scheduler::Random))),
        ("hash", one(web(&TWO).scheduler(Scheduler::SourceHash(HashOn::Address)))),
        ("affinity", one(Service { affinity: Some(60), ..web(&TWO) })),
        ("affinity, ports kept", one(Service { affinity: Some(60), ..web(&["10.0.2.11", "10.0.2.12"]) })),
        ("guard", one(guarded("192.0.2.128/25", false))),
        ("guard, drop invalid", one(guarded("192.0.2.128/25", true))),
        ("interface", one(web(&TWO).interface("eth0"))),
        ("range", one(service(&["203.0.113.10:79-82"], &TWO))),
        ("wildcard", one(service(&["*:80"], &TWO))),
        ("udp", one(service(&["203.0.113.10:80/udp"], &TWO))),
        ("ipv6", one(service(&["[2001:db8::10]:80"], &["[fd00::11]:80"]))),
        ("preserve", of_source(Source::Preserve)),
        ("auto", of_source(Source::Auto)),
        ("synproxy", one(Service { synproxy: true, ..web(&TWO) })),
        ("synproxy, adopts", one(adopts(Service { synproxy: true, ..web(&TWO) }))),
        ("adopts", one(adopts(web(&TWO)))),
        ("adopts beside local", services([("web", adopts(web(&TWO))), ("local", local())])),
        (
            "adopts on a range beside local",
            services([("web", adopts(service(&["203.0.113.10:79-82"], &TWO))), ("local", local())]),
        ),
        ("answers, adopts", one(adopts(web(&TWO)).preserve())),
        (
            "answers of two listeners, adopts",
            one(adopts(service(&["203.0.113.10:80", "203.0.113.13:80"], &TWO)).preserve()),
        ),
        (
            "answers beside local",
            services([("web", adopts(web(&TWO)).preserve()), ("local", local().preserve())]),
        ),
        ("early answers, adopts", one(Service { source: KEPT, ..adopts(web(&TWO)) })),
        (
            "early answers beside local",
            services([("web", Service { source: KEPT, ..adopts(web(&TWO)) }), ("local", local())]),
        ),
        ("local", services([("local", local())])),
    ]
}
