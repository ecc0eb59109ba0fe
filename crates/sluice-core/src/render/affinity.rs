//! Affinity: a client stays on its backend, for all listeners of a service at one address.
//!
//! Maps that rules fill hold where each client of a [group](super::groups) went, and are looked up before the pick
//! chain. They are filled at postrouting, when the destination is translated and the source is not, from the first
//! packet of each flow. The number of the group is the same for every packet of a rule: [`Pick::constant`]. nft 1.0.6
//! cannot type the original port in a concatenation, so that a verdict map leads from it to a chain of its own. The
//! sets there count new connections of backends, too: those of a known client meet no slot.

use std::net::IpAddr;

use sluice_nft::{
    Base, Chain, ChainName, Data, Element, Field, Ip, Key, Learn, Octets, Operand, Pick, Rule, Set, SetName,
    SetType, Statement, Table, Test,
};

use super::entry::Entry;
use super::groups::Groups;
use super::{Rendered, dispatch, names, pick};
use crate::model::{Backend, BackendPort, Protocol};

/// Clients that each map remembers at a time.
const CLIENTS: u32 = 1 << 20;

/// Seconds that a client is remembered where no rule says so; all of them do.
const DEFAULT_TIMEOUT: u32 = 600;

/// What is remembered of a client's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remembered {
    /// Address and port, for backends whose port is the same behind all listeners.
    AddressAndPort,
    /// The address, for those that keep the client's port.
    Address,
}

impl Remembered {
    const ALL: [Self; 2] = [Remembered::AddressAndPort, Remembered::Address];

    pub(crate) fn of(backend: &Backend) -> Self {
        match backend.port {
            BackendPort::Keep => Remembered::Address,
            BackendPort::One(_) | BackendPort::Range(_) => Remembered::AddressAndPort,
        }
    }

    fn fields(self, ip: Ip) -> Vec<Operand> {
        match self {
            Remembered::AddressAndPort => {
                vec![Operand::Field(Field::Daddr(ip)), Operand::Field(Field::Dport)]
            }
            Remembered::Address => vec![Operand::Field(Field::Daddr(ip))],
        }
    }

    /// What the map holds for clients of a backend that `port` of a listener leads to.
    pub(crate) fn data(self, entry: &Entry<'_>, backend: &Backend, port: u16) -> Octets<20> {
        let address = Octets::EMPTY.address(backend.address);
        match self {
            Remembered::AddressAndPort => address.port(backend.port.translate(entry.listener.ports, port)),
            Remembered::Address => address,
        }
    }
}

/// The maps that remember clients, of those that a table has.
pub(crate) fn maps(table: &Table) -> impl Iterator<Item = (Ip, Remembered, SetName)> + '_ {
    let kinds = Ip::ALL.into_iter().flat_map(|ip| Remembered::ALL.map(|kind| (ip, kind)));
    let maps = kinds.map(|(ip, kind)| (ip, kind, names::clients(ip, kind)));
    maps.filter(|(.., name)| table.sets.contains_key(name))
}

/// Whether a map remembers clients.
pub(crate) fn is_map(name: &SetName) -> bool {
    Ip::ALL.into_iter().any(|ip| Remembered::ALL.iter().any(|kind| names::clients(ip, *kind) == *name))
}

/// Address, protocol and port of each listener that a table leads to an affinity chain, and the number of its group.
pub(super) fn groups(table: &Table) -> impl Iterator<Item = ((IpAddr, u8, u16), u32)> + '_ {
    let of = |ip: Ip| {
        let key = dispatch::key(ip);
        table.sets.values().filter(move |set| set.data == SetType::Verdicts && set.key == key)
    };
    Ip::ALL.into_iter().flat_map(of).flat_map(|set| &set.elements).filter_map(|(key, element)| {
        let Data::Goto(chain) = &element.data else { return None };
        Some((listener(key)?, names::affinity_number(chain)?))
    })
}

/// Address, protocol and port of a key that [`dispatch::key`] describes.
fn listener(key: &Key) -> Option<(IpAddr, u8, u16)> {
    let (rest, [protocol, _, _, _, high, low, _, _]) = key.as_slice().split_last_chunk()?;
    let v4 = <[u8; 4]>::try_from(rest).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(rest).map(IpAddr::from)).ok()?;
    Some((address, *protocol, u16::from_be_bytes([*high, *low])))
}

/// Renders what remembers clients of a listener before the chain `pick`; returns the chain that comes first.
pub(super) fn render<'a>(
    rendered: &mut Rendered,
    entry: &Entry<'a>,
    groups: &Groups<'a>,
    pick: ChainName,
) -> ChainName {
    let Some(Member { ip, protocol, address, port, number, timeout }) = Member::of(entry, groups) else {
        return pick;
    };
    let kinds = kinds(entry);
    if kinds.is_empty() {
        return pick;
    }
    let origin = rendered.origins.add(entry.flow(None));
    let listener = Key::EMPTY.address(address).protocol(protocol.number()).port(port);
    let unknown = rendered.table.sets.entry(names::unknown_clients(ip));
    let unknown = unknown.or_insert_with(|| Set::verdicts(dispatch::key(ip)));
    unknown.elements.insert(listener, Element { data: Data::Goto(pick), origin });

    for kind in &kinds {
        let bound = names::bound(ip, protocol, port, number, timeout, *kind);
        let mut set = rendered.table.sets.remove(&bound).unwrap_or_else(|| Set::counted(translation(ip)));
        for backend in keeping(entry).filter(|backend| Remembered::of(backend) == *kind) {
            let origin = rendered.origins.add(entry.flow(Some(backend)));
            let key = Key::EMPTY.address(address).protocol(protocol.number()).address(backend.address);
            let key = key.port(backend.port.translate(entry.listener.ports, port));
            set.elements.insert(key, Element { data: Data::None, origin });
        }
        rendered.table.sets.insert(bound, set);
        let clients = || Set {
            data: SetType::Map(kind.fields(ip)),
            ..Set::learned(client(ip, 0), CLIENTS, Some(DEFAULT_TIMEOUT))
        };
        rendered.table.sets.entry(names::clients(ip, *kind)).or_insert_with(clients);
    }

    let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
    // nft refuses to set a port in a rule that does not say whose port it is, and adds the IP version behind that.
    let known = |kind: &Remembered| {
        let mut key = [Field::Saddr(ip), Field::Daddr(ip)].map(Operand::Field).to_vec();
        key.push(Operand::Pick(Pick::constant(number)));
        let port = *kind == Remembered::AddressAndPort;
        Rule(vec![
            Statement::is(Field::L4proto, &[protocol.number()]),
            version(),
            Statement::Dnat { ip, key, map: names::clients(ip, *kind), port },
        ])
    };
    let others = Rule(vec![version(), Statement::VerdictMap(dispatch::key(ip), names::unknown_clients(ip))]);
    let chain = names::affinity(ip, protocol, number, &kinds);
    let rules = kinds.iter().map(known).chain([others, pick::miss(rendered)]).collect();
    rendered.table.chains.insert(chain.clone(), Chain { base: None, rules });
    chain
}

/// Adds what fills the maps: a chain for each port.
pub(super) fn learn<'a>(table: &mut Table, entries: &[Entry<'a>], groups: &Groups<'a>) {
    for entry in entries {
        let Some(Member { ip, protocol, port, number, timeout, .. }) = Member::of(entry, groups) else {
            continue;
        };
        for kind in kinds(entry) {
            let name = names::learn_port(protocol, port);
            let ports = table.sets.entry(names::learn(protocol));
            let ports = ports.or_insert_with(|| Set::verdicts(vec![Operand::Field(Field::Dport)]));
            let data = Data::Goto(name.clone());
            ports.elements.insert(Key::EMPTY.port(port), Element { data, origin: Default::default() });
            let rule = Rule(vec![
                Statement::is(Field::Nfproto, &[ip.nfproto()]),
                Statement::InSet(translation(ip), names::bound(ip, protocol, port, number, timeout, kind)),
                Statement::Update {
                    key: client(ip, number),
                    set: names::clients(ip, kind),
                    learn: Learn::Value(kind.fields(ip), timeout),
                },
            ]);
            let chain = table.chains.entry(name).or_default();
            if !chain.rules.contains(&rule) {
                chain.rules.push(rule);
            }
        }
    }
    let rules: Vec<_> = Protocol::ALL
        .into_iter()
        .filter(|protocol| table.sets.contains_key(&names::learn(*protocol)))
        .map(|protocol| {
            Rule(vec![
                Statement::Match(Field::CtStatus, Test::Has(Field::DNAT)),
                Statement::is(Field::L4proto, &[protocol.number()]),
                Statement::VerdictMap(vec![Operand::Field(Field::CtOriginalDport)], names::learn(protocol)),
            ])
        })
        .collect();
    if !rules.is_empty() {
        table.chains.insert("learn".into(), Chain { base: Some(Base::LEARN), rules });
    }
}

/// A listener with affinity.
struct Member {
    ip: Ip,
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    number: u32,
    timeout: u32,
}

impl Member {
    fn of<'a>(entry: &Entry<'a>, groups: &Groups<'a>) -> Option<Self> {
        let (timeout, (address, port)) = (entry.service.affinity?, entry.exact()?);
        let number = groups.number(entry, address)?;
        Some(Member { ip: entry.ip, protocol: entry.listener.protocol, address, port, number, timeout })
    }
}

/// What is remembered of the backends of an entry, whether or not clients stay on them now.
fn kinds(entry: &Entry<'_>) -> Vec<Remembered> {
    let has = |kind: &Remembered| entry.members().any(|backend| Remembered::of(backend) == *kind);
    Remembered::ALL.into_iter().filter(has).collect()
}

/// Backends that clients stay on, including those that take no others.
pub(crate) fn keeping<'a>(entry: &Entry<'a>) -> impl Iterator<Item = &'a Backend> + use<'a> {
    let left = &entry.service.left;
    entry.members().filter(move |backend| !left.contains(&backend.name))
}

/// Client, address of the listener and number of the group, which the maps are keyed by.
fn client(ip: Ip, number: u32) -> Vec<Operand> {
    let fields = [Field::Saddr(ip), Field::CtOriginalDaddr(ip)].map(Operand::Field);
    fields.into_iter().chain([Operand::Pick(Pick::constant(number))]).collect()
}

/// What a flow was translated from, as far as it can be in a key, and to.
fn translation(ip: Ip) -> Vec<Operand> {
    [Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}
