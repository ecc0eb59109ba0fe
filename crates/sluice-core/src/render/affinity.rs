//! Affinity: a client stays on its backend.
//!
//! A map that rules fill holds where each client of a listener went, and is asked before the pick chain. It learns at
//! postrouting, when the destination is translated and the source is not, from the first packet of each flow. The
//! port that the client asked for stands in no concatenation (nft 1.0.6 cannot type it), so it leads to a chain of its
//! own, which puts it into the key as a constant. What a backend gets is counted there, too: a client that is known
//! never meets a slot.

use sluice_nft::{
    Base, Chain, ChainName, Data, Element, Field, Ip, Key, Learn, Operand, Rule, Set, Statement, Table, Test,
};

use super::entry::Entry;
use super::{Rendered, dispatch, names, pick};
use crate::model::{Backend, Protocol};

/// Clients that are remembered at a time, for each IP version.
const CLIENTS: u32 = 1 << 20;

/// Seconds that a client is remembered where no rule says so; all of them do.
const DEFAULT_TIMEOUT: u32 = 600;

/// Renders what remembers clients of a listener before the chain `pick`; returns the chain that comes first.
pub(super) fn render(rendered: &mut Rendered, entry: &Entry<'_>, pick: ChainName) -> ChainName {
    let (Some(timeout), Some((address, port))) = (entry.service.affinity, entry.exact()) else { return pick };
    let (ip, protocol) = (entry.ip, entry.listener.protocol);
    let origin = rendered.origins.add(entry.flow(None));
    let listener = Key::EMPTY.address(address).protocol(protocol.number()).port(port);
    let unknown = rendered.table.sets.entry(names::unknown_clients(ip));
    let unknown = unknown.or_insert_with(|| Set::verdicts(dispatch::key(ip)));
    unknown.elements.insert(listener, Element { data: Data::Goto(pick), origin });

    let bound = || names::bound(ip, protocol, port, timeout);
    rendered.table.sets.entry(bound()).or_insert_with(|| Set::counted(translation(ip)));
    for backend in keeping(entry) {
        let origin = rendered.origins.add(entry.flow(Some(backend)));
        let key = Key::EMPTY.address(address).protocol(protocol.number()).address(backend.address);
        let key = key.port(backend.port.translate(entry.listener.ports, port));
        let set = rendered.table.sets.get_mut(&bound()).expect("it was put there just now");
        set.elements.insert(key, Element { data: Data::None, origin });
    }
    let clients = || Set {
        data: sluice_nft::SetType::Map(backend_of(ip)),
        ..Set::learned(client(ip), CLIENTS, Some(DEFAULT_TIMEOUT))
    };
    rendered.table.sets.entry(names::clients(ip)).or_insert_with(clients);

    let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
    let key = [Field::Saddr(ip), Field::Daddr(ip), Field::L4proto, Field::Dport].map(Operand::Field).to_vec();
    let known = Rule(vec![version(), Statement::Dnat { ip, key, map: names::clients(ip), port: true }]);
    let others = Rule(vec![version(), Statement::VerdictMap(dispatch::key(ip), names::unknown_clients(ip))]);
    let chain = names::affinity(ip);
    let rules = vec![known, others, pick::miss(rendered)];
    rendered.table.chains.insert(chain.clone(), Chain { base: None, rules });
    chain
}

/// Adds what learns: a chain for each port.
pub(super) fn learn(table: &mut Table, entries: &[Entry<'_>]) {
    let learns = |entry: &&Entry<'_>| entry.service.affinity.is_some();
    for entry in entries.iter().filter(learns) {
        let (Some(timeout), Some((_, port))) = (entry.service.affinity, entry.exact()) else { continue };
        let (ip, protocol) = (entry.ip, entry.listener.protocol);
        let name = names::learn_port(protocol, port);
        let ports = table.sets.entry(names::learn(protocol));
        let ports = ports.or_insert_with(|| Set::verdicts(vec![Operand::Field(Field::Dport)]));
        let data = Data::Goto(name.clone());
        ports.elements.insert(Key::EMPTY.port(port), Element { data, origin: Default::default() });

        let [source, address, proto, _] = <[Operand; 4]>::try_from(client(ip)).expect("four parts");
        let learn = Statement::Update {
            key: vec![source, address, proto, Operand::Port(port)],
            set: names::clients(ip),
            learn: Learn::Value(backend_of(ip), timeout),
        };
        let rule = Rule(vec![
            Statement::is(Field::Nfproto, &[ip.nfproto()]),
            Statement::InSet(translation(ip), names::bound(ip, protocol, port, timeout)),
            learn,
        ]);
        let chain = table.chains.entry(name).or_default();
        if !chain.rules.contains(&rule) {
            chain.rules.push(rule);
        }
    }
    let rules: Vec<_> = [Protocol::Tcp, Protocol::Udp]
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

/// Backends that clients stay on, those that take no others, too.
pub(crate) fn keeping<'a>(entry: &Entry<'a>) -> impl Iterator<Item = &'a Backend> + use<'a> {
    let left = &entry.service.left;
    entry.members().filter(move |backend| !left.contains(&backend.name))
}

/// Client and listener, as the map has them.
pub(crate) fn client(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::CtOriginalDaddr(ip), Field::L4proto, Field::Dport].map(Operand::Field).to_vec()
}

/// What a flow was translated from, as far as it can be in a key, and to.
fn translation(ip: Ip) -> Vec<Operand> {
    [Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}

fn backend_of(ip: Ip) -> Vec<Operand> {
    [Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec()
}
