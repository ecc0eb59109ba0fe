//! Postrouting: masquerade what we translated, and only that.
//!
//! One constant rule looks up (listener address, protocol, backend address, backend port). That key
//! does not hold the client's destination port, for nft 1.0.6 cannot type it in a concatenation. So
//! where a listener that preserves the source shares a key with one that masquerades, and for `*`
//! and port ranges, the chain `source` compares original destinations one listener at a time.

use std::collections::HashMap;
use std::net::IpAddr;

use sluice_nft::{
    Base, Chain, ChainName, Data, Element, Field, Ip, Key, Operand, Origin, Rule, Set, SetName, Statement,
};

use super::entry::Entry;
use super::{Rendered, dispatch, names};
use crate::model::{Address, Backend, BackendPort, Ports, Source};

/// Adds the postrouting chain, if any listener masquerades.
pub(super) fn render(rendered: &mut Rendered, entries: &[Entry<'_>]) {
    let kept = Preserved::of(entries);
    let mut private: Vec<(&Entry<'_>, Vec<&Backend>)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.service.source == Source::Masquerade) {
        let own: Vec<_> = match entry.exact_destination() {
            None => entry.members().collect(),
            Some(address) => {
                let (own, common) = entry.members().partition(|b| kept.claims(entry, address, b));
                shared(rendered, entry, address, common);
                own
            }
        };
        if !own.is_empty() {
            private.push((entry, own));
        }
    }

    let mut rules = Vec::new();
    let status = || Statement::Match(Field::CtStatus, sluice_nft::Test::Has(Field::DNAT));
    for ip in Ip::ALL.into_iter().filter(|ip| rendered.table.sets.contains_key(&names::masquerade(*ip))) {
        rules.push(Rule(vec![
            status(),
            Statement::is(Field::Nfproto, &[ip.nfproto()]),
            Statement::InSet(key(ip), names::masquerade(ip)),
            Statement::Masquerade,
        ]));
    }
    if !private.is_empty() {
        rules.push(Rule(vec![status(), Statement::Jump(names::source())]));
        one_by_one(rendered, entries, &private);
    }
    if !rules.is_empty() {
        rendered.table.chains.insert("postrouting".into(), Chain { base: Some(Base::POSTROUTING), rules });
    }
}

/// Elements for the constant rule.
fn shared(rendered: &mut Rendered, entry: &Entry<'_>, address: IpAddr, backends: Vec<&Backend>) {
    if backends.is_empty() {
        return;
    }
    let origin = rendered.origins.add(entry.flow(None));
    let set =
        rendered.table.sets.entry(names::masquerade(entry.ip)).or_insert_with(|| Set::plain(key(entry.ip)));
    for backend in backends {
        set.elements.insert(element(entry, address, backend), Element { data: Data::None, origin });
    }
}

/// Adds the elements of an exact listener that nobody else claims.
pub(super) fn exact(rendered: &mut Rendered, entry: &Entry<'_>, kept: &Preserved) {
    if let (Source::Masquerade, Some(address)) = (entry.service.source, entry.exact_destination()) {
        shared(
            rendered,
            entry,
            address,
            entry.members().filter(|b| !kept.claims(entry, address, b)).collect(),
        );
    }
}

/// Keys of the constant rule's set that an exact listener needs.
pub(crate) fn keys(entry: &Entry<'_>, kept: &Preserved) -> Vec<Key> {
    match (entry.service.source, entry.exact_destination()) {
        (Source::Masquerade, Some(address)) => {
            let common = entry.members().filter(|backend| !kept.claims(entry, address, backend));
            common.map(|backend| element(entry, address, backend)).collect()
        }
        _ => vec![],
    }
}

fn element(entry: &Entry<'_>, address: IpAddr, backend: &Backend) -> Key {
    let key = Key::EMPTY.address(address).protocol(entry.protocol()).address(backend.address);
    key.port(entry.backend_ports(backend).first)
}

fn key(ip: Ip) -> Vec<Operand> {
    [Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}

/// The chain `source`: listeners in order of precedence. One that preserves the source stands there
/// only where it would otherwise be taken for one that masquerades.
fn one_by_one(rendered: &mut Rendered, entries: &[Entry<'_>], private: &[(&Entry<'_>, Vec<&Backend>)]) {
    let mut rules: Vec<(_, Rule)> = Vec::new();
    let mut add = |entry: &Entry<'_>, backends: &[&Backend], then| {
        let one_port = entry.listener.ports.as_single().is_some()
            || backends.iter().all(|backend| matches!(backend.port, BackendPort::One(_)));
        let name = names::private_source(entry, one_port);
        let origin = rendered.origins.add(entry.flow(None));
        let (chain, set) = members(entry, backends, one_port, SetName::from(&name), then, origin);
        rendered.table.sets.insert(SetName::from(&name), set);
        rendered.table.chains.insert(ChainName::from(&name), chain);
        rules.push((entry.rank(), original(entry, ChainName::from(&name))));
    };
    for (entry, backends) in private {
        add(entry, backends, Statement::Masquerade);
    }
    for entry in entries.iter().filter(|entry| entry.service.source == Source::Preserve) {
        let mistaken = |(other, backends): &(&Entry<'_>, Vec<&Backend>)| {
            entry.rank() < other.rank()
                && entry.overlaps(other)
                && backends.iter().any(|b| entry.members().any(|own| own.address == b.address))
        };
        if private.iter().any(mistaken) {
            add(entry, &entry.members().collect::<Vec<_>>(), Statement::Accept);
        }
    }
    rules.sort_by_key(|(rank, _)| *rank);
    let rules = rules.into_iter().map(|(_, rule)| rule).collect();
    rendered.table.chains.insert(names::source(), Chain { base: None, rules });
}

/// Matches flows whose original destination is this entry's.
fn original(entry: &Entry<'_>, chain: ChainName) -> Rule {
    let mut rule = vec![];
    if let Some(interface) = &entry.service.interface {
        rule.push(Statement::is(Field::Iifname, &dispatch::interface_octets(interface)));
    }
    if entry.listener.address == Address::Any {
        rule.push(Statement::is(Field::Nfproto, &[entry.ip.nfproto()]));
    }
    rule.push(Statement::is(Field::L4proto, &[entry.protocol()]));
    if let Address::Exact(address) = entry.listener.address {
        let value = Key::EMPTY.address(address);
        rule.push(Statement::is(Field::CtOriginalDaddr(entry.ip), value.as_slice()));
    }
    rule.extend(dispatch::ports(Field::CtOriginalDport, entry.listener.ports));
    rule.push(Statement::Jump(chain));
    Rule(rule)
}

/// The set of backends of one entry, and the chain that decides on flows to them. In a chain of
/// their own because nft 1.0.6, listing a port and `ct original proto-dst` in one rule, prints what
/// it can't read again.
fn members(
    entry: &Entry<'_>,
    backends: &[&Backend],
    one_port: bool,
    name: SetName,
    then: Statement,
    origin: Origin,
) -> (Chain, Set) {
    let mut key = vec![Operand::Field(Field::Daddr(entry.ip))];
    if one_port {
        key.push(Operand::Field(Field::Dport));
    }
    let mut set = Set::plain(key.clone());
    for backend in backends {
        let address = Key::EMPTY.address(backend.address);
        let key = if one_port { address.port(entry.backend_ports(backend).first) } else { address };
        set.elements.insert(key, Element { data: Data::None, origin });
    }
    let rule =
        Rule(vec![Statement::is(Field::Nfproto, &[entry.ip.nfproto()]), Statement::InSet(key, name), then]);
    (Chain { base: None, rules: vec![rule] }, set)
}

/// Flows that must keep their source, by what the constant rule sees of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preserved(HashMap<(u8, IpAddr), Vec<(Address, Ports)>>);

/// Protocol and backend, and for what listener addresses and backend ports.
pub(crate) fn claims<'a>(
    entry: &'a Entry<'_>,
) -> impl Iterator<Item = ((u8, IpAddr), (Address, Ports))> + 'a {
    let preserves = entry.service.source == Source::Preserve;
    entry.members().filter(move |_| preserves).map(|backend| {
        ((entry.protocol(), backend.address), (entry.listener.address, entry.backend_ports(backend)))
    })
}

impl Preserved {
    pub(crate) fn of(entries: &[Entry<'_>]) -> Self {
        let mut kept = Preserved::default();
        entries.iter().for_each(|entry| kept.add(entry));
        kept
    }

    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        for (at, claim) in claims(entry) {
            self.0.entry(at).or_default().push(claim);
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry<'_>) {
        for (at, claim) in claims(entry) {
            if let Some(claims) = self.0.get_mut(&at) {
                claims.iter().position(|other| *other == claim).map(|n| claims.swap_remove(n));
                if claims.is_empty() {
                    self.0.remove(&at);
                }
            }
        }
    }

    /// Whether the constant rule could not tell this flow from one that must keep its source.
    pub(crate) fn claims(&self, entry: &Entry<'_>, address: IpAddr, backend: &Backend) -> bool {
        let ports = entry.backend_ports(backend);
        self.0.get(&(entry.protocol(), backend.address)).into_iter().flatten().any(
            |(claimed, claimed_ports)| {
                [Address::Any, Address::Exact(address)].contains(claimed) && claimed_ports.overlaps(ports)
            },
        )
    }
}
