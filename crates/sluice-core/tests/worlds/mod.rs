//! Random hosts: services with nearly full sets and lists of clients, on interfaces with networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sluice_core::model::{
    EffectiveServices, Guard, HashOn, Networks, Scheduler, Service, ServiceName, Source,
};

use crate::common::strategy::any_services;
use crate::common::{Services, service};

/// The host that is rendered.
#[derive(Clone, Default)]
pub struct World {
    pub services: Services,
    pub networks: Networks,
}

/// Many services would be pages.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few: Vec<_> =
            self.services.iter().filter(|(name, _)| !name.as_str().starts_with("many")).collect();
        let many = self.services.len() - few.len();
        let like = self.services.iter().find(|(name, _)| name.as_str().starts_with("many"));
        f.debug_struct("World")
            .field("networks", &self.networks)
            .field("few", &few)
            .field("many", &many)
            .field("like", &like)
            .finish()
    }
}

impl World {
    pub fn effective(&self) -> EffectiveServices<'_> {
        EffectiveServices::from(&self.services).with_networks(&self.networks)
    }
}

/// Services as validation would leave them, some with lists, and perhaps many more of a kind.
pub fn any_world() -> impl Strategy<Value = World> {
    let guards = prop::collection::vec(prop::option::of(any_guard()), 5);
    (any_services(), guards, prop::option::of(any_many()), any_networks()).prop_map(
        |(mut services, guards, many, networks)| {
            for (service, guard) in services.values_mut().zip(guards) {
                service.guard = guard.or(service.guard.take());
            }
            services.extend(many.into_iter().flat_map(|many| many.services()));
            World { services, networks }
        },
    )
}

/// Networks of interfaces, which overlap those of another choice.
pub fn any_networks() -> impl Strategy<Value = Networks> {
    let all = vec![
        ("eth0", "10.0.2.1/24"),
        ("eth0", "10.0.2.129/25"),
        ("eth0", "10.0.0.1/16"),
        ("eth0", "10.0.0.1/8"),
        ("eth1", "10.0.2.1/24"),
        ("eth1", "10.0.3.1/23"),
        ("eth0", "fd00::1/64"),
        ("eth0", "fd00::1/48"),
        ("eth1", "fd00:0:0:1::1/64"),
    ];
    subsequence(all, 0..5).prop_map(|some| networks(&some))
}

pub fn networks(of: &[(&str, &str)]) -> Networks {
    Networks::of(of.iter().map(|(name, net)| ((*name).to_owned(), net.parse().unwrap())))
}

fn any_guard() -> impl Strategy<Value = Arc<Guard>> {
    (any_list(), any_list(), any::<bool>()).prop_map(|(allow, deny, drop_invalid)| {
        Arc::new(Guard { allow, deny, drop_invalid, ..Guard::default() })
    })
}

/// None of them lies within another, as validation leaves them: few, of many lengths, or many of one.
fn any_list() -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = (select(vec![0u32, 0x0001_0000, 0x0001_0100, 0x0002_0000]), 9u8..=32);
    let v4 =
        v4.prop_map(|(low, length)| IpNet::V4(Ipv4Net::new((0x0a00_0000 + low).into(), length).unwrap()));
    let v6 = (select(vec![0u128, 1 << 64, 3 << 80]), 33u8..=128);
    let v6 = v6.prop_map(|(low, length)| {
        let base = u128::from("fd00::".parse::<Ipv6Addr>().unwrap());
        IpNet::V6(Ipv6Net::new((base + low).into(), length).unwrap())
    });
    let few = prop::collection::vec(prop_oneof![3 => v4, 1 => v6], 0..12);
    let many = (0u32..64, 1010u32..1030).prop_map(|(first, count)| hosts(first..first + count));
    prop_oneof![8 => few, 1 => many].prop_map(|mut nets| {
        nets.iter_mut().for_each(|net| *net = net.trunc());
        IpNet::aggregate(&nets)
    })
}

/// Addresses no two of which make a larger network.
pub fn hosts(numbers: impl Iterator<Item = u32>) -> Vec<IpNet> {
    numbers.map(|n| IpNet::from(IpAddr::from(Ipv4Addr::from(0xc633_0000 + 2 * n)))).collect()
}

/// Many services of one kind, so that the sets that they share are nearly full.
#[derive(Clone, Debug)]
pub struct Many {
    pub count: u32,
    pub listeners: u32,
    pub backends: u32,
    /// Number of the first backend's address.
    pub first: u32,
    pub like: Service,
}

impl Many {
    pub fn services(&self) -> Services {
        let one = |n: u32| {
            let listen: Vec<String> =
                (1..=self.listeners).map(|port| format!("198.18.{}.{}:{port}", n / 256, n % 256)).collect();
            let address = |b: u32| Ipv4Addr::from(0x0a09_0000 + self.first + n * self.backends + b);
            let backends: Vec<String> = (0..self.backends).map(|b| format!("{}:80", address(b))).collect();
            let text = |list: &[String]| -> Vec<&'static str> {
                list.iter().map(|text| &*text.clone().leak()).collect()
            };
            let Service { listeners, backends, .. } = service(&text(&listen), &text(&backends));
            (
                ServiceName::new(&format!("many{n}")).unwrap(),
                Service { listeners, backends, ..self.like.clone() },
            )
        };
        (0..self.count).map(one).collect()
    }
}

fn any_many() -> impl Strategy<Value = Many> {
    let shape = prop_oneof![
        (250u32..258).prop_map(|count| (count, 1, 4)),
        (1015u32..1030).prop_map(|count| (count, 1, 1)),
        (200u32..206).prop_map(|listeners| (5, listeners, 1)),
    ];
    let scheduler = select(vec![Scheduler::Random, Scheduler::SourceHash(HashOn::Address)]);
    let source = select(vec![Source::Masquerade, Source::Auto, Source::Preserve]);
    let guard = prop::option::weighted(0.3, any_guard());
    (shape, select(vec![0u32, 1, 7, 600]), scheduler, source, guard, prop::option::weighted(0.3, Just(60)))
        .prop_map(|((count, listeners, backends), first, scheduler, source, guard, affinity)| {
            let like = Service { scheduler, source, guard, affinity, ..Service::default() };
            Many { count, listeners, backends, first, like }
        })
}
