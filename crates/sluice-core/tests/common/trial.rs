//! Runs plans batch by batch on the fake kernel, and traces packets during them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use sluice_core::model::{Address, InterfaceName, Listener, OnEmpty, Ports, Protocol, Service, Source};
use sluice_core::plan::Plan;
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::render::{Rendered, render};
use sluice_nft::fake::FakeKernel;
use sluice_nft::trace::{Host, Ingress, Outcome, Packet, Tracer};
use sluice_nft::{Dataplane, Table};

use super::Services;

pub fn host() -> Host {
    let local = ["10.0.1.1", "203.0.113.11", "fd00::1"].map(|address| address.parse().unwrap());
    Host { local: local.into(), ..Host::default() }
}

/// Plans and commits the change from `before` to `after`, batch by batch.
pub fn states(before: &Table, after: &Services) -> (Vec<Table>, Rendered, Plan) {
    let desired = render(after, Some(before));
    let plan = diff(Some(before), Some(&desired.table), &desired.owners);
    let mut kernel = FakeKernel::with_table(before.clone());
    let mut states = vec![before.clone()];
    for batch in &plan.batches {
        kernel.commit(&batch.steps(), None).unwrap();
        states.push(kernel.table().unwrap().clone());
    }
    (states, desired, plan)
}

/// Packets to every listener, from every side.
pub fn packets(services: &Services) -> Vec<Packet> {
    let listeners: BTreeSet<Listener> =
        services.values().flat_map(|service| &service.listeners).copied().collect();
    let mut packets = Vec::new();
    for listener in listeners {
        let addresses: Vec<IpAddr> = match listener.address {
            Address::Exact(address) => vec![address],
            Address::Any => ["10.0.1.1", "198.51.100.1", "fd00::1"].map(|a| a.parse().unwrap()).into(),
        };
        for address in addresses {
            let source = if address.is_ipv4() { "192.0.2.7:4242" } else { "[2001:db8:7::7]:4242" };
            let (source, destination) =
                (source.parse().unwrap(), SocketAddr::new(address, listener.ports.last));
            let protocol = listener.protocol;
            packets.push(Packet::local(protocol, source, destination));
            for interface in ["eth0", "eth1", "eth2"] {
                let ingress = Ingress::Arriving(interface.into());
                packets.push(Packet { ingress, ..Packet::local(protocol, source, destination) });
            }
        }
    }
    packets
}

/// Everything that can happen to a packet under one ruleset.
pub fn outcomes(table: &Table, packet: &Packet) -> BTreeSet<String> {
    let mut tracer = Tracer::new(host());
    let numbers = (0..32u32).map(|n| n << 27);
    numbers
        .map(|random| format!("{:?}", tracer.trace(table, &Packet { random, ..packet.clone() }).outcome))
        .collect()
}

/// Where any of the services may lead a packet, with the source that any of them wants.
fn translations(services: [&Services; 2], packet: &Packet) -> Vec<String> {
    let (address, port) = (packet.destination.ip(), packet.destination.port());
    let (mut destinations, mut sources) = (BTreeSet::new(), BTreeSet::new());
    for service in services.into_iter().flat_map(|services| services.values()) {
        let takes = |l: &&Listener| {
            [Address::Any, Address::Exact(address)].contains(&l.address)
                && l.protocol == packet.protocol
                && l.ports.overlaps(Ports::single(port))
        };
        for listener in service.listeners.iter().filter(takes) {
            sources.insert(service.source == Source::Masquerade);
            let backends =
                service.backends.iter().filter(|b| b.weight > 0 && b.address.is_ipv4() == address.is_ipv4());
            destinations
                .extend(backends.map(|b| SocketAddr::new(b.address, b.port.translate(listener.ports, port))));
        }
    }
    let pairs = destinations.iter().flat_map(|to| sources.iter().map(|masqueraded| (*to, *masqueraded)));
    pairs.map(|(to, masqueraded)| format!("{:?}", Outcome::Translated { to, masqueraded })).collect()
}

/// The outcomes of a packet during a change.
pub struct Meeting {
    packet: Packet,
    /// The outcomes of packets to its listener before and after the change.
    allowed: BTreeSet<String>,
    met: String,
    plan: String,
}

impl Meeting {
    /// Whether it is what the packet may meet. In doubt it is masqueraded: a flow that should keep its source
    /// works without, one that should not would not.
    pub fn is_close(&self) -> bool {
        let Meeting { allowed, met, .. } = self;
        allowed.iter().any(|outcome| outcome == met || outcome.replace("false", "true") == *met)
    }

    /// Whether it is dropped, so that its client asks again, while its listener comes or goes.
    pub fn is_put_off(&self) -> bool {
        let untranslated = |outcome: &String| outcome.starts_with("Untranslated");
        self.met == "Dropped" && self.allowed.iter().any(untranslated)
    }

    /// Whether it is translated as it may be, only that it keeps its source.
    pub fn keeps_its_source(&self) -> bool {
        self.allowed.contains(&self.met.replace("false", "true"))
    }

    /// Whether it is translated, if that is all it may be; an empty pool will do.
    pub fn stays_translated(&self) -> bool {
        let Meeting { allowed, met, .. } = self;
        let passes = |outcome: &str| outcome.starts_with("Untranslated");
        !passes(met) || allowed.iter().any(|outcome| passes(outcome))
    }
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meeting { packet, allowed, met, plan } = self;
        write!(f, "{packet:?}\n{met}, not {allowed:?}\n{plan}")
    }
}

/// Everything that can happen to a packet while a commit falls between any two of its reads.
fn outcomes_across(tables: [&Table; 2], packet: &Packet) -> BTreeSet<String> {
    let packets = (0..8u32).map(|n| Packet { random: n << 29, ..packet.clone() });
    let traces = packets.flat_map(|packet| Tracer::new(host()).trace_interleavings(&tables, &packet));
    traces.map(|trace| format!("{:?}", trace.outcome)).collect()
}

/// The outcome of a midstream packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Ignored,
    /// The outcome of the first packet of a connection.
    Adopted,
}

impl Fate {
    /// `None` where it may be either.
    fn of(outcomes: &BTreeSet<String>) -> Option<Self> {
        let ignored = |outcome: &String| outcome == "Untranslated { masqueraded: false }";
        match outcomes.iter().filter(|outcome| ignored(outcome)).count() {
            0 => Some(Fate::Adopted),
            n if n == outcomes.len() => Some(Fate::Ignored),
            _ => None,
        }
    }
}

/// Midstream packets to listeners that treat them in the same way before and after a change, with the
/// expected and the actual outcomes.
pub fn midstream_meetings(first: &Table, before: &Services, after: &Services) -> Vec<(Packet, Fate, String)> {
    let (states, ..) = states(first, after);
    let is_answered = |packet: &Packet| {
        let proxied = |service: &Service| service.synproxy && takes(service, packet);
        [before, after].into_iter().flat_map(|services| services.values()).any(proxied)
    };
    let arriving = packets(before).into_iter().filter(|packet| {
        packet.protocol == Protocol::Tcp && packet.ingress != Ingress::Local && !is_answered(packet)
    });
    let mut meetings = Vec::new();
    for packet in arriving.map(Packet::midstream) {
        let [was, is] = [first, states.last().unwrap()].map(|table| Fate::of(&outcomes(table, &packet)));
        let Some(fate) = was.filter(|_| was == is) else { continue };
        let met = states.windows(2).flat_map(|pair| outcomes_across([&pair[0], &pair[1]], &packet));
        let others = met.filter(|met| Fate::of(&[met.clone()].into()) != Some(fate));
        let others = others.collect::<Vec<_>>().join(", ");
        meetings.push((packet, fate, others));
    }
    meetings
}

/// What a packet meets at an empty pool of a service.
fn refusal(service: &Service, packet: &Packet) -> String {
    match (service.on_empty, packet.protocol) {
        (OnEmpty::Drop, _) => "Dropped".to_owned(),
        (OnEmpty::Reject | OnEmpty::UseAll, Protocol::Tcp) => "Reset".to_owned(),
        (OnEmpty::Reject | OnEmpty::UseAll, Protocol::Udp | Protocol::Sctp) => "Unreachable".to_owned(),
    }
}

/// Whether a listener of a service takes a packet, precedence aside.
pub fn takes(service: &Service, packet: &Packet) -> bool {
    let (address, port) = (packet.destination.ip(), packet.destination.port());
    let interface = |name: &InterfaceName| packet.ingress == Ingress::Arriving(name.as_str().to_owned());
    let versions = |listener: &Listener| service.takes(listener, packet.ip());
    service.enabled
        && service.interface.as_ref().is_none_or(interface)
        && service.listeners.iter().any(|listener| {
            [Address::Any, Address::Exact(address)].contains(&listener.address)
                && listener.protocol == packet.protocol
                && listener.ports.overlaps(Ports::single(port))
                && versions(listener)
        })
}

/// Everything that packets to the listeners of `before` can meet while its table `first` is changed.
pub fn meetings(first: &Table, before: &Services, after: &Services) -> Vec<Meeting> {
    let (states, _, plan) = states(first, after);
    let plan = report(&plan).to_string();
    let mut meetings = Vec::new();
    let packets = packets(before);
    for packet in &packets {
        // Any backend of the listener, whichever way packets come: a slot may point elsewhere before an
        // interface stops being served, or before another scheduler picks it.
        let same = packets.iter().filter(|other| other.destination == packet.destination);
        let ends = [first, states.last().unwrap()];
        let mut allowed: BTreeSet<String> =
            same.flat_map(|other| ends.into_iter().flat_map(|table| outcomes(table, other))).collect();
        // A pool that was empty may get its backends before the listener leaves an interface.
        let taken = ["Translated", "Reset", "Unreachable"];
        if allowed.iter().any(|outcome| taken.iter().any(|taken| outcome.starts_with(taken)))
            || before.values().any(|service| service.guard.is_none() && takes(service, packet))
        {
            allowed.extend(translations([before, after], packet));
        }
        // One that stays empty may refuse in the new way before that.
        let taking = before.iter().filter(|(_, service)| takes(service, packet));
        allowed.extend(taking.filter_map(|(name, _)| Some(refusal(after.get(name)?, packet))));
        let mut met = BTreeSet::new();
        for pair in states.windows(2) {
            met.extend(outcomes_across([&pair[0], &pair[1]], packet));
        }
        meetings.extend(met.into_iter().map(|met| Meeting {
            packet: packet.clone(),
            allowed: allowed.clone(),
            met,
            plan: plan.clone(),
        }));
    }
    meetings
}
