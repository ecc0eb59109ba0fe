//! What is said of a first packet is what happens to it: fates, and above all why a guard drops it.

use std::net::{IpAddr, SocketAddr};

use sluice::explain::{Choice, Explanation, Fate, SourceSeen, explain};
use sluice_config::SourceFile;
use sluice_core::model::{DropReason, EffectiveServices, Protocol, Services};
use sluice_core::pool;
use sluice_core::render::render;
use sluice_nft::fake::FakeKernel;
use sluice_nft::trace::{Host, Packet};

struct Case {
    services: Services,
    at_start: Services,
    host: Host,
}

impl Case {
    fn new(text: &str) -> Self {
        let main = SourceFile { path: "case.yaml".into(), text: text.into() };
        let loaded =
            sluice_config::parse(main, |_| Ok(vec![])).unwrap_or_else(|problems| panic!("{problems:?}"));
        let services = loaded.config.services.as_ref().clone();
        let at_start = pool::at_start(&services);
        let host = Host { local: ["203.0.113.10".parse().unwrap()].into(), ..Host::default() };
        Case { services, at_start, host }
    }

    fn effective(&self) -> EffectiveServices<'_> {
        EffectiveServices::new(&self.services, &self.at_start)
    }

    /// What becomes of a packet from a client to a port, and of the same sent to a kernel.
    fn explain(&self, client: &str, port: u16) -> Explanation {
        let client: IpAddr = client.parse().unwrap();
        let to = SocketAddr::new("203.0.113.10".parse().unwrap(), port);
        let packet = Packet::arriving(Protocol::Tcp, SocketAddr::new(client, 40_000), to);
        let table = render(self.effective(), None).table;
        explain(&table, self.effective(), &self.host, &packet, false)
    }

    fn fate(&self, client: &str, port: u16) -> Fate {
        self.explain(client, port).fate
    }
}

/// Services with every limit, whose names are those of reasons; exact listeners, and one of its own chains.
const NAMED_LIKE_REASONS: &str = "
defaults:
  limits: {new_connections: 10/second, new_connections_per_client: 5/second, connections_per_client: 9, on_full: drop}
  deny: [192.0.2.0/24]
services:
  client-rate: {listen: '203.0.113.10:80', backends: [10.0.2.11:8080]}
  denied: {listen: ['203.0.113.10:81', '203.0.113.10:82'], allow: [198.51.100.0/24, 192.0.2.0/24], backends: [10.0.2.11:8080]}
  clients-full: {listen: '*:83', allow: [198.51.100.7], on_empty: drop, backends: []}
  rate: {listen: '203.0.113.10:1000-1003', backends: [10.0.2.11]}";

#[test]
fn limits_count_as_not_reached_also_where_clients_beyond_them_are_dropped() {
    let case = Case::new(NAMED_LIKE_REASONS);
    for port in [80, 81, 82, 1000, 1003] {
        let fate = case.fate("198.51.100.7", port);
        assert!(matches!(fate, Fate::Translated { .. }), "{port}: {fate:?}");
    }
}

#[test]
fn reason_is_of_the_rule_that_drops_and_not_of_the_name_of_the_service() {
    let case = Case::new(NAMED_LIKE_REASONS);
    for port in [80, 81, 82, 83, 1001] {
        assert_eq!(case.fate("192.0.2.9", port), Fate::Dropped(DropReason::Denied), "{port}");
    }
    for port in [81, 82, 83] {
        assert_eq!(case.fate("198.18.0.1", port), Fate::Dropped(DropReason::NotAllowed), "{port}");
    }
    assert_eq!(case.fate("198.51.100.7", 83), Fate::Silence, "there is no backend, and that is all");
}

#[test]
fn packet_within_all_limits_counts_at_none_of_them() {
    let case = Case::new(NAMED_LIKE_REASONS);
    let mut kernel = FakeKernel::with_table(render(case.effective(), None).table);
    let to = "203.0.113.10:80".parse().unwrap();
    let trace = kernel.send(&Packet::arriving(Protocol::Tcp, "198.51.100.7:40000".parse().unwrap(), to));
    let counted = trace.visits.iter().filter_map(|visit| visit.element.as_ref());
    assert_eq!(counted.filter(|(set, _)| set.as_str().starts_with("dropped")).count(), 0, "{trace:?}");
}

#[test]
fn shares_are_of_those_that_serve() {
    let case = Case::new(
        "services:
           web: {listen: '203.0.113.10:80', source: preserve,
             backends: [10.0.2.11:8080, {address: 10.0.2.12:8080, weight: 3}, {address: 10.0.2.99:8080, backup: true}]}
           late: {listen: '203.0.113.10:81', health: {tcp: {}, initial: down}, backends: [10.0.2.13:8080]}
           off: {listen: '203.0.113.10:82', enabled: false, backends: [10.0.2.13:8080]}",
    );
    let Explanation { taken_by, fate, proxied } = case.explain("198.51.100.7", 80);
    assert_eq!(
        taken_by.map(|(name, listener)| format!("{name} {listener}")),
        Some("web 203.0.113.10:80/tcp".into())
    );
    let backends = [("10.0.2.11:8080", 0.25), ("10.0.2.12:8080", 0.75)];
    let backends = backends.map(|(to, share)| (to.parse().unwrap(), share)).into();
    assert_eq!(
        (fate, proxied),
        (Fate::Translated { backends, by: Choice::Turns, source: SourceSeen::Client }, false)
    );
    assert_eq!(case.fate("198.51.100.7", 81), Fate::Refused);
    assert_eq!(
        case.explain("198.51.100.7", 82),
        Explanation { taken_by: None, proxied: false, fate: Fate::Untouched }
    );
}
