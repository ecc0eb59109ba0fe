//! Why a connection goes where it goes: the rules, run in user space.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sluice_core::model::{DropReason, EffectiveServices, Listener, ServiceName};
use sluice_core::render::{ChainId, Frontend, SetId};
use sluice_nft::trace::{Host, Outcome, Packet, Trace, Tracer};
use sluice_nft::{
    ChainName, Data, Field, Ip, Key, Operand, SetName, SlotExpr, SourcePorts, Statement, Table,
};

/// What becomes of the first packet of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Service and listener that take it; `None`: none does.
    pub taken_by: Option<(ServiceName, Listener)>,
    /// Whether the host completes the client's handshake before.
    pub proxied: bool,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Nothing of ours: it goes on to where it was sent.
    Untouched,
    /// The guard drops it.
    Dropped(DropReason),
    /// It is dropped for another reason: no backend and `on_empty: drop`, or a slot that is missing.
    Silence,
    /// There is no backend, and the client is told.
    Refused,
    /// It goes to a backend.
    Translated {
        /// Who gets it, and what share of such connections. One, unless it is by turns, by chance, or by a port that is
        /// not known.
        backends: Vec<(SocketAddr, f64)>,
        /// What decides.
        by: Choice,
        /// Whom the backend sees.
        source: SourceSeen,
    },
}

/// What decides on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Where the client went before.
    Affinity,
    /// A hash of the client's address, and of its port if so configured.
    Hash {
        /// Whether the port matters.
        port: bool,
    },
    /// A counter.
    Turns,
    /// Chance.
    Chance,
}

/// Whom a backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSeen {
    /// The client.
    Client,
    /// The host, with its address on the way to the backend.
    Masquerade,
    /// One of these addresses.
    Addresses(IpAddr, IpAddr, SourcePorts),
}

/// Runs a packet through a table; `services` are those that it was made of. With `any_port` the client's port is not
/// known, whatever the packet has.
pub fn explain(
    table: &Table,
    services: EffectiveServices<'_>,
    host: &Host,
    packet: &Packet,
    any_port: bool,
) -> Explanation {
    let trace = Tracer::new(host.clone()).trace(table, packet);
    let frontends = services.iter().flat_map(|(name, service)| Frontend::of(name, service));
    let taken_by = frontends.into_iter().find(|frontend| takes(frontend, packet, &trace, table));
    let fate = match trace.outcome {
        Outcome::Dropped => dropped(&trace).map_or(Fate::Silence, Fate::Dropped),
        Outcome::Reset | Outcome::Unreachable => Fate::Refused,
        Outcome::Translated { to, .. } => translated(table, &trace, to, any_port),
        // To the very address and port that it was sent to.
        Outcome::Untranslated { .. } if taken_by.is_some() => {
            translated(table, &trace, packet.destination, any_port)
        }
        // Only midstream packets are answers of a backend.
        Outcome::Untranslated { .. } | Outcome::Answered { .. } => Fate::Untouched,
    };
    let proxies = |visit| matches!(statement(table, visit), Some(Statement::Synproxy { .. }));
    let proxied = trace.visits.iter().any(proxies);
    Explanation {
        taken_by: taken_by.map(|frontend| (frontend.name.clone(), frontend.listener)),
        proxied,
        fate,
    }
}

/// Whether it was this listener that a packet was led to.
fn takes(frontend: &Frontend<'_>, packet: &Packet, trace: &Trace, table: &Table) -> bool {
    let to = packet.destination;
    if frontend.exact() == Some((to.ip(), to.port())) {
        return frontend.listener.protocol == packet.protocol && led_by_map(trace, frontend.ip);
    }
    let id = frontend.id();
    let leads = |chain: &ChainName| ChainId::parse(chain).is_some_and(|chain| chain.listener() == Some(&id));
    let mut met = trace.visits.iter().filter_map(|visit| statement(table, visit));
    frontend.exact().is_none() && met.any(|met| matches!(met, Statement::Goto(chain) if leads(chain)))
}

/// Whether the map of exact listeners had it.
fn led_by_map(trace: &Trace, ip: Ip) -> bool {
    let found = |(set, _): &(SetName, Key)| {
        SetId::parse(set).is_some_and(|id| id == SetId::Services(ip) || id == SetId::Syns(ip))
    };
    trace.visits.iter().any(|visit| visit.element.as_ref().is_some_and(found))
}

fn statement<'a>(table: &'a Table, visit: &sluice_nft::trace::Visit) -> Option<&'a Statement> {
    table.chains.get(&visit.chain)?.rules.get(visit.rule)?.0.get(visit.statement)
}

/// The guard's reason: the rule that dropped the packet looked into the set that counts it.
fn dropped(trace: &Trace) -> Option<DropReason> {
    let last = trace.visits.last()?;
    let of_rule =
        trace.visits.iter().rev().take_while(|visit| visit.chain == last.chain && visit.rule == last.rule);
    of_rule.filter_map(|visit| visit.element.as_ref()).find_map(|(set, _)| SetId::parse(set)?.reason())
}

fn translated(table: &Table, trace: &Trace, to: SocketAddr, any_port: bool) -> Fate {
    let mut backends = vec![(to, 1.0)];
    let mut by = Choice::Affinity;
    let mut source = SourceSeen::Client;
    for visit in &trace.visits {
        match statement(table, visit) {
            Some(Statement::Dnat { map, .. }) if matches!(SetId::parse(map), Some(SetId::Clients(..))) => {}
            Some(Statement::Dnat { ip, key, map, port }) => {
                let Some(Operand::Slot(pick)) = key.last() else { continue };
                by = match pick {
                    SlotExpr::Jhash { on, .. } => Choice::Hash { port: on.contains(&Field::Sport) },
                    SlotExpr::Inc { .. } => Choice::Turns,
                    SlotExpr::Random { .. } => Choice::Chance,
                };
                let is_certain = matches!(by, Choice::Hash { port } if !(port && any_port));
                if let (false, Some((_, found))) = (is_certain, &visit.element) {
                    let port = (!port).then_some(to.port());
                    backends = shares(table, map, found, pick.range(), *ip, port);
                }
            }
            Some(Statement::Masquerade) => source = SourceSeen::Masquerade,
            Some(Statement::Snat { ip, first, last, ports }) => {
                let address = |octets: &[u8]| ip.split_address(octets).map(|(address, _)| address);
                if let (Some(first), Some(last)) = (address(first.as_slice()), address(last.as_slice())) {
                    source = SourceSeen::Addresses(first, last, *ports);
                }
            }
            _ => {}
        }
    }
    Fate::Translated { backends, by, source }
}

/// Shares of backends in the slots of a listener, of which `found` is one.
fn shares(
    table: &Table,
    map: &SetName,
    found: &Key,
    (modulus, base): (u32, u32),
    ip: Ip,
    port: Option<u16>,
) -> Vec<(SocketAddr, f64)> {
    let listener = &found.as_slice()[..found.as_slice().len() - 4];
    let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    for slot in base..base + modulus {
        let key = Key::EMPTY.with(listener).slot(slot);
        let element = table.sets.get(map).and_then(|set| set.elements.get(&key));
        if let Some(Data::Value(value)) = element.map(|element| &element.data) {
            let Some((address, rest)) = ip.split_address(value.as_slice()) else { continue };
            let port = port.or_else(|| Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])));
            if let Some(port) = port {
                *counts.entry(SocketAddr::new(address, port)).or_default() += 1;
            }
        }
    }
    let all: u32 = counts.values().sum();
    counts.into_iter().map(|(to, count)| (to, f64::from(count) / f64::from(all))).collect()
}
