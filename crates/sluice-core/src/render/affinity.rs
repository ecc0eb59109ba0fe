//! Affinity: a client stays on its backend, for all listeners of a service at one address.
//!
//! Maps that rules fill hold where each client of a [group](super::groups) went, and are looked up before the pick
//! chain. They are filled at postrouting, when the destination is translated and the source is not, from the first
//! packet of each flow. The number of the group is the same for every packet of a rule: [`SlotExpr::constant`]. nft 1.0.6
//! cannot type the original port in a concatenation, so that a verdict map leads from it to a chain of its own. The
//! sets there count new connections of backends, too: those of a known client meet no slot.

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
use crate::model::{Backend, BackendPort, Protocol};

/// Clients that each map remembers at a time.
const CLIENTS: u32 = 1 << 20;

/// Seconds that a client is remembered where no rule says so; all of them do.
const DEFAULT_TIMEOUT: u32 = 600;

/// What is remembered of a client's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remembered {
    /// Address and port, for backends whose port is the same behind all listeners.
    AddressAndPort,
    /// The address, for those that keep the client's port.
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

    /// What the map holds for clients of a backend that `port` of a listener leads to.
    pub(crate) fn data(self, frontend: &Frontend<'_>, backend: &Backend, port: u16) -> Octets<20> {
        let address = Octets::EMPTY.address(backend.address);
        match self {
            Remembered::AddressAndPort => address.port(backend.port.translate(frontend.listener.ports, port)),
            Remembered::Address => address,
        }
    }
}

/// Address, protocol and port of each listener that a table leads to an affinity chain, and the number of its group.
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

/// Address, protocol and port of a key that [`dispatch::key`] describes.
pub(crate) fn listener(key: &Key) -> Option<ListenerKey> {
    Ip::ALL.into_iter().find_map(|ip| match ip.split_address(key.as_slice())? {
        (address, &[protocol, _, _, _, high, low, _, _]) => {
            Some((address, protocol, u16::from_be_bytes([high, low])))
        }
        _ => None,
    })
}

/// Renders what remembers clients of a listener before the chain `pick`; returns the chain that comes first.
pub(super) fn render(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    groups: &Groups<'_>,
    pick: ChainName,
) -> ChainName {
    let Some(member) = Member::of(frontend, groups) else { return pick };
    let Member { ip, protocol, address, number, .. } = member;
    draft.fragment.group = Some(number);
    let kinds = kinds(frontend);
    if kinds.is_empty() {
        return pick;
    }
    let listener = Key::EMPTY.address(address).protocol(protocol.number()).port(member.port);
    let declare = || Set::verdicts(dispatch::key(ip));
    let unknown = draft.fill(SetId::UnknownClients(ip), declare, [(listener, Data::Goto(pick))]);

    // nft refuses to set a port in a rule that does not say whose port it is, and adds the IP version behind that.
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

/// Adds what fills the map of clients of one kind, and returns that map.
fn learn(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, member: &Member, kind: Remembered) -> SetName {
    let Member { ip, protocol, address, port, number, timeout } = *member;
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
    ip: Ip,
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    number: u32,
    timeout: u32,
}

impl Member {
    fn of(frontend: &Frontend<'_>, groups: &Groups<'_>) -> Option<Self> {
        let (timeout, (address, port)) = (frontend.service.affinity?, frontend.exact()?);
        let number = groups.number(frontend, address)?;
        Some(Member { ip: frontend.ip, protocol: frontend.listener.protocol, address, port, number, timeout })
    }
}

/// What is remembered of the backends of an entry, whether or not clients stay on them now.
fn kinds(frontend: &Frontend<'_>) -> Vec<Remembered> {
    let has = |kind: &Remembered| frontend.members().any(|backend| Remembered::of(backend) == *kind);
    Remembered::ALL.into_iter().filter(has).collect()
}

/// Backends that clients stay on, including those that take no others.
pub(crate) fn keeping<'a>(frontend: &Frontend<'a>) -> impl Iterator<Item = &'a Backend> + use<'a> {
    let left = &frontend.service.left;
    frontend.members().filter(move |backend| !left.contains(&backend.name))
}

/// Client, address of the listener and number of the group, which the maps are keyed by.
fn client(ip: Ip, number: u32) -> Vec<Operand> {
    let fields = [Field::Saddr(ip), Field::CtOriginalDaddr(ip)].map(Operand::Field);
    fields.into_iter().chain([Operand::Slot(SlotExpr::constant(number))]).collect()
}

/// What a flow was translated from, as far as it can be in a key, and to.
fn translation(ip: Ip) -> Vec<Operand> {
    [Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}
