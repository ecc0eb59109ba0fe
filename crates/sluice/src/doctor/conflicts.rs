//! Rules of other tables that drop, translate or hide the packets of services. A packet that sluice accepts, other tables
//! still see.

use std::collections::BTreeSet;

use sluice_core::model::{Address, Config, Listener, Ports};
use sluice_nft::Ip;

use super::findings::{Findings, enabled, names};
use super::rules::{BaseChain, End, Hook, Packet, RuleTable, Verdict};
use super::tables::{CONNTRACK, Tables};
use super::{Facts, Severity};

/// Priority of the NAT chains of sluice at prerouting and output (`dstnat`).
const OWN: i64 = -100;

/// Flows of a large file that are looked at.
const FLOWS: usize = 2000;

impl Findings {
    pub(super) fn conflicts(&mut self, config: &Config, facts: &Facts) {
        let (clients, answers, forwarded) = (arriving(config), answers(config), forwarded(config));
        for table in &facts.tables.others {
            for base in &table.bases {
                match base.hook {
                    Hook::Forward => self.dropping(table, base, &forwarded),
                    Hook::Prerouting if base.is_nat => self.translating(&facts.tables, table, base, &clients),
                    Hook::Prerouting if base.priority < CONNTRACK => {
                        self.untracking(table, base, &clients, "packets to");
                        self.untracking(table, base, &answers, "answers of");
                    }
                    Hook::Prerouting | Hook::Output => {}
                }
            }
        }
    }

    fn dropping(&mut self, table: &RuleTable, base: &BaseChain, flows: &[Flow]) {
        let seen = flows.iter().filter(|flow| sees(table, flow)).count();
        let (mut lost, mut doubtful) = (BTreeSet::new(), false);
        for flow in flows {
            let verdicts = table.verdicts(base, &flow.packet);
            if let Some((Verdict::Drop, true)) = verdicts.last() {
                match verdicts.iter().any(|(verdict, _)| **verdict == Verdict::Accept) {
                    true => doubtful = true,
                    false => drop(lost.insert(&flow.name)),
                }
            }
        }
        let chain = table.name(&base.name);
        let lost: Vec<_> = lost.into_iter().collect();
        let accept = Some(table.accept(&base.name));
        if !lost.is_empty() {
            let which = if lost.len() == seen { "a backend".to_owned() } else { names(&lost) };
            let what = format!("{chain} drops forwarded packets: no packet reaches {which}");
            self.add(Severity::Error, what, accept);
        } else if doubtful {
            let what = format!(
                "{chain} drops forwarded packets: packets reach a backend only if one of its rules accepts them"
            );
            self.add(Severity::Warning, what, accept);
        }
    }

    fn translating(&mut self, tables: &Tables, table: &RuleTable, base: &BaseChain, flows: &[Flow]) {
        let translated: BTreeSet<_> = flows
            .iter()
            .filter(|flow| translates(table, base, &flow.packet))
            .map(|flow| &flow.name)
            .collect();
        if translated.is_empty() {
            return;
        }
        let which = names(&translated.into_iter().collect::<Vec<_>>());
        let (order, says) = order(tables, table, base);
        let severity = match order {
            Order::OtherFirst => Severity::Error,
            Order::OwnFirst { for_good: true } => Severity::Note,
            Order::OwnFirst { .. } | Order::Unknown => Severity::Warning,
        };
        let what = format!("{} also translates {which}: {says}", table.name(&base.name));
        self.add(severity, what, Some(table.listing(&base.name)));
    }

    fn untracking(&mut self, table: &RuleTable, base: &BaseChain, flows: &[Flow], which: &str) {
        let (mut hidden, mut is_certain) = (BTreeSet::new(), false);
        for flow in flows {
            let verdicts = table.verdicts(base, &flow.packet);
            if let Some((_, certain)) = verdicts.iter().find(|(verdict, _)| **verdict == Verdict::Untrack) {
                hidden.insert(&flow.name);
                is_certain |= certain;
            }
        }
        if hidden.is_empty() {
            return;
        }
        let (severity, may) = match is_certain {
            true => (Severity::Error, "hides"),
            false => (Severity::Warning, "may hide"),
        };
        let what = format!(
            "{} {may} {which} {} from conntrack (notrack): they are not translated",
            table.name(&base.name),
            names(&hidden.into_iter().collect::<Vec<_>>())
        );
        self.add(severity, what, Some(table.listing(&base.name)));
    }
}

/// What other tables do to the first packet of a flow beside sluice, one line each.
pub(crate) fn also_translated(tables: &Tables, packet: &Packet, hook: Hook) -> Vec<String> {
    let all = tables.others.iter().flat_map(|table| table.bases.iter().map(move |base| (table, base)));
    let other = all.filter(|(_, base)| base.is_nat && base.hook == hook);
    let other = other.filter(|(table, base)| translates(table, base, packet));
    let line = |(table, base): (&RuleTable, &BaseChain)| {
        let (_, says) = order(tables, table, base);
        format!("{} also translates it: {says}", table.name(&base.name))
    };
    other.map(line).collect()
}

fn translates(table: &RuleTable, base: &BaseChain, packet: &Packet) -> bool {
    table.verdicts(base, packet).iter().any(|(verdict, _)| **verdict == Verdict::Translate)
}

/// Which of two NAT chains sees a packet first, and so translates it.
enum Order {
    OtherFirst,
    /// `for_good`: until a file changes.
    OwnFirst {
        for_good: bool,
    },
    Unknown,
}

/// The kernel calls NAT chains by priority, and those of one priority from the last registered to the first
/// (`nf_hook_entries_grow`). Tables with a larger handle were created later.
fn order(tables: &Tables, table: &RuleTable, base: &BaseChain) -> (Order, String) {
    let priority = base.priority;
    if priority < OWN {
        let says = format!("its priority {priority} is before that of sluice ({OWN}), so it wins");
        return (Order::OtherFirst, says);
    }
    if priority > OWN {
        let says = format!("its priority {priority} is after that of sluice ({OWN}), so sluice wins");
        return (Order::OwnFirst { for_good: true }, says);
    }
    let flips = "both have priority -100, so the table that was loaded last wins";
    match (table.handle, tables.own_handle) {
        (Some(other), Some(own)) if other > own => {
            (Order::OtherFirst, format!("{flips}: now this one, until sluice creates its table again"))
        }
        (Some(_), Some(_)) => {
            let says = format!("{flips}: now that of sluice, until this one is loaded again");
            (Order::OwnFirst { for_good: false }, says)
        }
        (_, None) => {
            let says = format!("{flips}: that of sluice when sluiced starts, until this one is loaded again");
            (Order::OwnFirst { for_good: false }, says)
        }
        (None, Some(_)) => (Order::Unknown, format!("{flips}, and it changes with each load")),
    }
}

/// Packets of a service, and their name in a finding.
struct Flow {
    name: String,
    packet: Packet,
}

fn sees(table: &RuleTable, flow: &Flow) -> bool {
    table.version().is_none_or(|version| version == flow.packet.ip)
}

/// First packets of clients.
fn arriving(config: &Config) -> Vec<Flow> {
    let listeners = enabled(config)
        .flat_map(|(name, service)| service.listeners.iter().map(move |listener| (name, service, listener)));
    let flows = listeners.flat_map(|(name, service, listener)| {
        let versions = Ip::ALL.into_iter().filter(move |ip| service.takes(listener, *ip));
        versions
            .map(move |ip| Flow { name: format!("{listener} ({name})"), packet: to_listener(listener, ip) })
    });
    flows.take(FLOWS).collect()
}

fn to_listener(listener: &Listener, ip: Ip) -> Packet {
    let (source, original) = (client(), end_of(listener));
    let destination = original.clone();
    Packet { ip, protocol: listener.protocol, source, destination, original, is_translated: false }
}

fn end_of(listener: &Listener) -> End {
    let address = match listener.address {
        Address::Exact(address) => Some(address),
        Address::Any => None,
    };
    End { address, ports: Some(listener.ports) }
}

/// Packets that sluice has translated, on their way to backends.
fn forwarded(config: &Config) -> Vec<Flow> {
    let flow = |Served { name, ip, listener, end }| {
        let (source, original) = (client(), end_of(listener));
        let protocol = listener.protocol;
        let packet = Packet { ip, protocol, source, destination: end, original, is_translated: true };
        Flow { name, packet }
    };
    served(config).into_iter().map(flow).collect()
}

/// Packets of backends.
fn answers(config: &Config) -> Vec<Flow> {
    let flow = |Served { name, ip, listener, end }| {
        let (destination, original, protocol) = (client(), end_of(listener), listener.protocol);
        let packet = Packet { ip, protocol, source: end, destination, original, is_translated: false };
        Flow { name, packet }
    };
    served(config).into_iter().map(flow).collect()
}

/// The end of clients, or of this host in their place: any address, and a port as they have it, which rules for ports of
/// servers do not name.
fn client() -> End {
    End { address: None, ports: Some(Ports { first: 50_000, last: 50_000 }) }
}

/// Where a backend serves the connections of a listener.
struct Served<'a> {
    name: String,
    ip: Ip,
    listener: &'a Listener,
    end: End,
}

fn served(config: &Config) -> Vec<Served<'_>> {
    let mut served = vec![];
    for (name, service) in enabled(config) {
        for backend in &service.backends {
            let ip = Ip::of(backend.address);
            for listener in service.listeners.iter().filter(|listener| service.takes(listener, ip)) {
                if served.len() == FLOWS {
                    return served;
                }
                let port = |port| backend.port.translate(listener.ports, port);
                let ports = Ports { first: port(listener.ports.first), last: port(listener.ports.last) };
                let end = End { address: Some(backend.address), ports: Some(ports) };
                served.push(Served { name: format!("{name}/{}", backend.name), ip, listener, end });
            }
        }
    }
    served
}
