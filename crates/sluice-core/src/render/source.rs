//! Postrouting: give what we translated the source that its service says, and only that.
//!
//! One constant rule for each source looks up (listener address, protocol, backend address, backend port). That key
//! does not hold the client's destination port, for nft 1.0.6 cannot type it in a concatenation. So where listeners
//! of different sources share a key, and for `*` and port ranges, the chain `source` compares original destinations
//! one listener at a time. Where the client's address stays, the client is masqueraded all the same if an answer to it
//! would not pass here: there (listener address, protocol) is enough of a key.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use sluice_nft::{
    Base, Chain, ChainName, Data, Element, Field, Ip, Key, Octets, Operand, Origin, Rule, Set, SetName,
    Statement, Test,
};

use super::entry::Entry;
use super::{Rendered, dispatch, names};
use crate::model::{Address, Backend, BackendPort, Networks, Ports, Source};

/// Adds the postrouting chain, if any listener needs it.
pub(super) fn render(rendered: &mut Rendered, entries: &[Entry<'_>], networks: &Networks) {
    let claims = Claims::of(entries);
    let mut private: Vec<(&Entry<'_>, Vec<&Backend>)> = Vec::new();
    for entry in entries {
        let own = exact(rendered, entry, &claims);
        if !own.is_empty() {
            private.push((entry, own));
        }
    }

    let translated = || Statement::Match(Field::CtStatus, Test::Has(Field::DNAT));
    let sources: BTreeSet<_> = entries.iter().map(|entry| (entry.service.source, entry.ip)).collect();
    let mut rules = Vec::new();
    for (source, ip) in &sources {
        let set = names::source_of(*source, *ip);
        if rendered.table.sets.contains_key(&set) {
            let mut rule = treatment(*source, *ip).swap_remove(0);
            rule.insert(rule.len() - 1, Statement::InSet(key(*source, *ip), set));
            // Where nft has it: before the first statement that reads the IP header.
            let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
            rule.insert(usize::from(*source == Source::Preserve), version);
            rules.push((*source, Rule([translated()].into_iter().chain(rule).collect())));
        }
    }
    // What is masqueraded by a constant rule, no other listener claims. All others have to be told apart first.
    let others = rules.partition_point(|(source, _)| *source == Source::Masquerade);
    if !private.is_empty() {
        rules
            .insert(others, (Source::Masquerade, Rule(vec![translated(), Statement::Jump(names::source())])));
        one_by_one(rendered, entries, &private);
    }
    if !rules.is_empty() {
        let rules = rules.into_iter().map(|(_, rule)| rule).collect();
        rendered.table.chains.insert("postrouting".into(), Chain { base: Some(Base::POSTROUTING), rules });
    }
    for (source, ip) in sources.into_iter().filter(|(source, _)| source.keeps()) {
        near(rendered, source, ip, networks);
    }
}

/// What becomes of a flow of this source: the first of these rules that holds.
fn treatment(source: Source, ip: Ip) -> Vec<Vec<Statement>> {
    let on_link = || Statement::InSet(fields([Field::Oifname, Field::Saddr(ip)]), names::on_link(ip));
    let back = Statement::InSet(fields([Field::Iifname, Field::Oifname]), names::same_interface());
    match source {
        Source::Masquerade => vec![vec![Statement::Masquerade]],
        Source::Auto => vec![vec![on_link(), Statement::Masquerade], vec![Statement::Accept]],
        Source::Preserve => vec![vec![back, on_link(), Statement::Masquerade], vec![Statement::Accept]],
        Source::Addresses(first, last) => {
            let [first, last] = [first, last].map(|address| Octets::EMPTY.address(address));
            vec![vec![Statement::Snat { ip, first, last }]]
        }
    }
}

/// The sets of what is near.
fn near(rendered: &mut Rendered, source: Source, ip: Ip, networks: &Networks) {
    let origin = Origin::default();
    let sets = &mut rendered.table.sets;
    let on_link = sets.entry(names::on_link(ip));
    let on_link = on_link.or_insert_with(|| Set::ranges(fields([Field::Oifname, Field::Saddr(ip)])));
    let named = |key: Key, name| key.with(&dispatch::interface_octets(name));
    for (name, net) in networks.iter().filter(|(_, net)| Ip::of(net.addr()) == ip) {
        let data = Data::Through(Octets::EMPTY.address(net.broadcast()));
        on_link.elements.insert(named(Key::EMPTY, name).address(net.network()), Element { data, origin });
    }
    if source == Source::Preserve {
        let back = sets.entry(names::same_interface());
        let back = back.or_insert_with(|| Set::plain(fields([Field::Iifname, Field::Oifname])));
        for (name, _) in networks.iter() {
            back.elements.insert(named(named(Key::EMPTY, name), name), Element { data: Data::None, origin });
        }
    }
}

/// Adds the elements of a listener for the constant rules; returns the backends that those could not tell from
/// others'.
pub(super) fn exact<'a>(rendered: &mut Rendered, entry: &Entry<'a>, claims: &Claims) -> Vec<&'a Backend> {
    let (own, keys) = divide(entry, claims);
    if !keys.is_empty() {
        let origin = rendered.origins.add(entry.flow(None));
        let source = entry.service.source;
        let set = rendered.table.sets.entry(names::source_of(source, entry.ip));
        let set = set.or_insert_with(|| Set::plain(key(source, entry.ip)));
        set.elements.extend(keys.into_iter().map(|key| (key, Element { data: Data::None, origin })));
    }
    own
}

/// Keys of the constant rules' sets that a listener needs.
pub(crate) fn keys(entry: &Entry<'_>, claims: &Claims) -> Vec<Key> {
    divide(entry, claims).1
}

/// Backends that need a comparison of their own, and keys of all others.
fn divide<'a>(entry: &Entry<'a>, claims: &Claims) -> (Vec<&'a Backend>, Vec<Key>) {
    let protocol = entry.protocol();
    match (entry.service.source.keeps(), entry.listener.address, entry.exact_destination()) {
        (true, Address::Exact(address), _) => (vec![], vec![Key::EMPTY.address(address).protocol(protocol)]),
        (false, _, Some(address)) => {
            let disputed = |backend: &Backend| claims.dispute(entry, address, backend);
            let all = entry.claims() && entry.members().any(disputed);
            let (own, common): (Vec<_>, Vec<_>) =
                entry.members().partition(|backend| all || disputed(backend));
            let key = |backend: &&Backend| {
                let key = Key::EMPTY.address(address).protocol(protocol).address(backend.address);
                key.port(entry.backend_ports(backend).first)
            };
            (own, common.iter().map(key).collect())
        }
        _ => (entry.members().collect(), vec![]),
    }
}

fn key(source: Source, ip: Ip) -> Vec<Operand> {
    match source.keeps() {
        true => fields([Field::CtOriginalDaddr(ip), Field::L4proto]),
        false => fields([Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport]),
    }
}

fn fields<const N: usize>(fields: [Field; N]) -> Vec<Operand> {
    fields.map(Operand::Field).to_vec()
}

/// The chain `source`: listeners in order of precedence. One that the constant rules know stands there only where it
/// would otherwise be taken for another.
fn one_by_one(rendered: &mut Rendered, entries: &[Entry<'_>], private: &[(&Entry<'_>, Vec<&Backend>)]) {
    let mut rules: Vec<(_, Rule)> = Vec::new();
    let mut add = |entry: &Entry<'_>, backends: &[&Backend]| {
        let one_port = entry.listener.ports.as_single().is_some()
            || backends.iter().all(|backend| matches!(backend.port, BackendPort::One(_)));
        let name = names::private_source(entry, one_port);
        let origin = rendered.origins.add(entry.flow(None));
        let (chain, set) = members(entry, backends, one_port, SetName::from(&name), origin);
        rendered.table.sets.insert(SetName::from(&name), set);
        rendered.table.chains.insert(ChainName::from(&name), chain);
        rules.push((entry.rank(), original(entry, ChainName::from(&name))));
    };
    for (entry, backends) in private {
        add(entry, backends);
    }
    for entry in entries.iter().filter(|entry| entry.claims()) {
        let is_private = private.iter().any(|(other, _)| std::ptr::eq(*other, entry));
        let mistaken = |(other, backends): &(&Entry<'_>, Vec<&Backend>)| {
            entry.rank() < other.rank()
                && entry.service.source != other.service.source
                && entry.overlaps(other)
                && backends.iter().any(|b| entry.members().any(|own| own.address == b.address))
        };
        if !is_private && private.iter().any(mistaken) {
            add(entry, &entry.members().collect::<Vec<_>>());
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
    let rule = |then| {
        let version = Statement::is(Field::Nfproto, &[entry.ip.nfproto()]);
        Rule([version, Statement::InSet(key.clone(), name.clone())].into_iter().chain(then).collect())
    };
    let rules = treatment(entry.service.source, entry.ip).into_iter().map(rule).collect();
    (Chain { base: None, rules }, set)
}

/// Flows that are not simply masqueraded, by what the constant rules see of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(HashMap<(u8, IpAddr), Vec<Claim>>);

/// Listener addresses, backend ports, and what source those have.
pub(crate) type Claim = (Address, Ports, Source);

/// Protocol and backend, and what of it is claimed.
pub(crate) fn claims<'a>(entry: &'a Entry<'_>) -> impl Iterator<Item = ((u8, IpAddr), Claim)> + 'a {
    entry.members().filter(|_| entry.claims()).map(|backend| {
        let claim = (entry.listener.address, entry.backend_ports(backend), entry.service.source);
        ((entry.protocol(), backend.address), claim)
    })
}

impl Claims {
    pub(crate) fn of(entries: &[Entry<'_>]) -> Self {
        let mut claims = Claims::default();
        entries.iter().for_each(|entry| claims.add(entry));
        claims
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

    /// Whether the constant rules could not tell this flow from one of another source.
    pub(crate) fn dispute(&self, entry: &Entry<'_>, address: IpAddr, backend: &Backend) -> bool {
        let ports = entry.backend_ports(backend);
        let claims = self.0.get(&(entry.protocol(), backend.address)).into_iter().flatten();
        claims.filter(|(_, _, source)| *source != entry.service.source).any(|(claimed, claimed_ports, _)| {
            [Address::Any, Address::Exact(address)].contains(claimed) && claimed_ports.overlaps(ports)
        })
    }
}
