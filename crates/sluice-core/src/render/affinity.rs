//! Client affinity: a client keeps its backend for all listeners of a service at one address.
//!
//! Dynamic maps hold the backend of each client of a [group](super::groups); rules look them up before the
//! pick chain. Rules at postrouting fill the maps from the first packet of each flow whose destination is
//! translated and whose source is not. [`SlotExpr::constant`] puts the number of the group into the key. nft
//! 1.0.6 cannot type the original port in a concatenation, so a verdict map leads from the port to a chain
//! for it. The sets in these chains also count new connections of backends, because flows of known clients
//! bypass the slots.

use std::net::IpAddr;

use sluice_nft::{
    ChainName, Data, Field, Ip, Key, Octets, Operand, Rule, Set, SetName, SetType, SetUpdate, SlotExpr,
    Statement, Table,
};

use super::dispatch;
use super::fragment::Draft;
use super::frontend::{Frontend, Rank};
use super::groups::Groups;
use super::layout::ListenerKey;
use super::names::{ChainId, SetId};
use crate::model::{Backend, BackendPort};

/// Maximum number of clients in each map.
const CLIENTS: u32 = 1 << 20;

/// Default timeout of the maps in seconds. Every rule that adds elements sets its own timeout.
const DEFAULT_TIMEOUT: u32 = 600;

/// The data that a client map holds: what of the backend is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remembered {
    /// Address and port, for backends with the same port behind all listeners.
    AddressAndPort,
    /// The address alone, for backends that keep the client's destination port.
    Address,
}

impl Remembered {
    pub(crate) const ALL: [Self; 2] = [Remembered::AddressAndPort, Remembered::Address];

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

    /// The data for clients of a backend that `port` of a listener leads to.
    pub(crate) fn data(self, frontend: &Frontend<'_>, backend: &Backend, port: u16) -> Octets<20> {
        let address = Octets::EMPTY.address(backend.address);
        match self {
            Remembered::AddressAndPort => address.port(backend.port.translate(frontend.listener.ports, port)),
            Remembered::Address => address,
        }
    }
}

/// The listeners that a table leads to an affinity chain, with the numbers of their groups.
pub(super) fn groups(table: &Table) -> impl Iterator<Item = (ListenerKey, u32)> + '_ {
    let of = |ip: Ip| {
        let key = dispatch::key(ip);
        table.sets.values().filter(move |set| set.data == SetType::Verdicts && set.key == key)
    };
    Ip::ALL.into_iter().flat_map(of).flat_map(|set| &set.elements).filter_map(|(key, element)| {
        let Data::Goto(chain) = &element.data else { return None };
        match ChainId::parse(chain)? {
            ChainId::Affinity(_, _, number, _) => Some((listener(key)?, number)),
            _ => None,
        }
    })
}

/// The listener of a key with the fields of [`dispatch::key`].
pub(crate) fn listener(key: &Key) -> Option<ListenerKey> {
    Ip::ALL.into_iter().find_map(|ip| match ip.split_address(key.as_slice())? {
        (address, &[protocol, _, _, _, high, low, _, _]) => {
            Some((address, protocol, u16::from_be_bytes([high, low])))
        }
        _ => None,
    })
}

/// Renders the lookup of known clients before the chain `pick`; returns the first chain of the two.
pub(super) fn render(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    groups: &Groups<'_>,
    pick: ChainName,
) -> ChainName {
    let member = frontend.service.affinity.zip(frontend.exact()).and_then(|(timeout, (address, port))| {
        let number = *groups.0.get(&(frontend.name, address))?;
        Some(Member { address, port, number, timeout })
    });
    let Some(member) = member else { return pick };
    let (ip, protocol, Member { address, number, .. }) = (frontend.ip, frontend.listener.protocol, member);
    draft.fragment.group = Some(number);
    let kinds = kinds(frontend);
    if kinds.is_empty() {
        return pick;
    }
    let listener = Key::EMPTY.address(address).protocol(protocol.number()).port(member.port);
    let declare = || Set::verdicts(dispatch::key(ip));
    let unknown = draft.fill(SetId::UnknownClients(ip), declare, [(listener, Data::Goto(pick))]);

    // nft refuses a port translation in a rule without a match on the protocol, and adds the match on the IP
    // version after it.
    let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
    let mut rules = vec![];
    for kind in &kinds {
        let map = learn(draft, frontend, &member, *kind);
        let mut key = [Field::Saddr(ip), Field::Daddr(ip)].map(Operand::Field).to_vec();
        key.push(Operand::Slot(SlotExpr::constant(number)));
        let port = *kind == Remembered::AddressAndPort;
        rules.push(Rule(vec![
            Statement::is(Field::L4proto, &[protocol.number()]),
            version(),
            Statement::Dnat { ip, key, map, port },
        ]));
    }
    rules.push(Rule(vec![version(), Statement::VerdictMap(dispatch::key(ip), unknown)]));
    rules.push(draft.miss());
    draft.shared(ChainId::Affinity(ip, protocol, number, kinds), || rules)
}

/// Renders the rules that fill the client map of one kind; returns the map.
fn learn(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, member: &Member, kind: Remembered) -> SetName {
    let Member { address, port, number, timeout } = *member;
    let (ip, protocol) = (frontend.ip, frontend.listener.protocol);
    let keeping = keeping(frontend).filter(|backend| Remembered::of(backend) == kind).map(|backend| {
        let key = Key::EMPTY.address(address).protocol(protocol.number()).address(backend.address);
        (key.port(backend.port.translate(frontend.listener.ports, port)), Data::None, Some(backend))
    });
    let bound = SetId::Bound(ip, protocol, port, number, timeout, kind == Remembered::Address);
    let bound = draft.count(bound, || Set::counted(translation(ip)), keeping);
    let declare = || Set {
        data: SetType::Map(kind.fields(ip)),
        ..Set::dynamic(client(ip, 0), CLIENTS, Some(DEFAULT_TIMEOUT))
    };
    let clients = draft.fill(SetId::Clients(kind, ip), declare, []);
    let chain = ChainName::from(ChainId::LearnPort(protocol, port));
    let ports = || Set::verdicts(vec![Operand::Field(Field::Dport)]);
    draft.fill(SetId::Learn(protocol), ports, [(Key::EMPTY.port(port), Data::Goto(chain))]);
    let rule = Rule(vec![
        Statement::is(Field::Nfproto, &[ip.nfproto()]),
        Statement::InSet(translation(ip), bound),
        Statement::Update {
            key: client(ip, number),
            set: clients.clone(),
            update: SetUpdate::Data(kind.fields(ip), timeout),
        },
    ]);
    draft.hook(ChainId::LearnPort(protocol, port), Rank::Exact, rule);
    clients
}

/// A listener with affinity.
#[derive(Clone, Copy)]
struct Member {
    address: IpAddr,
    port: u16,
    number: u32,
    timeout: u32,
}

/// The kinds of maps for the backends of a frontend, whether or not clients keep these backends now.
fn kinds(frontend: &Frontend<'_>) -> Vec<Remembered> {
    let has = |kind: &Remembered| frontend.members().any(|backend| Remembered::of(backend) == *kind);
    Remembered::ALL.into_iter().filter(has).collect()
}

/// Backends that clients keep, including those that take no new clients.
pub(crate) fn keeping<'a>(frontend: &Frontend<'a>) -> impl Iterator<Item = &'a Backend> + use<'a> {
    let evict_from = &frontend.service.evict_from;
    frontend.members().filter(move |backend| !evict_from.contains(&backend.name))
}

/// The key of the client maps: client, address of the listener, number of the group.
fn client(ip: Ip, number: u32) -> Vec<Operand> {
    let fields = [Field::Saddr(ip), Field::CtOriginalDaddr(ip)].map(Operand::Field);
    fields.into_iter().chain([Operand::Slot(SlotExpr::constant(number))]).collect()
}

/// The original and the translated destination of a flow, without the original port, which nft 1.0.6 cannot
/// type.
fn translation(ip: Ip) -> Vec<Operand> {
    [Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}
