//! Source translation: the source address that backends see of flows that sluice translated.
//!
//! One constant rule per source looks up (listener address, protocol, backend address, backend port). The
//! client's destination port is not part of the key, because nft 1.0.6 cannot type it in a concatenation. If
//! listeners with different sources share a key, and for `*` and port ranges, the chain `source` compares
//! original destinations one listener at a time. With `auto` and `preserve`, a client is still masqueraded if
//! replies to it would bypass the balancer; for these sources, (listener address, protocol) is a sufficient
//! key.

use std::collections::BTreeSet;

use sluice_nft::{Comparison, Data, Field, Ip, Key, Octets, Operand, Rule, Set, SetName, Statement};

use super::ambiguous::AmbiguousFlows;
use super::dispatch;
use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::{ChainId, SetId};
use crate::model::{Address, Backend, BackendPort, Networks, Source};

/// Renders the set elements, and if needed the chains, for the source of a listener.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, ambiguous: &AmbiguousFlows) {
    let (source, ip) = (frontend.service.source, frontend.ip);
    let (own, keys) = split_by_ambiguity(frontend, ambiguous);
    if !keys.is_empty() {
        let elements = keys.into_iter().map(|key| (key, Data::None));
        draft.fill(SetId::Source((source, ip)), || Set::plain(key(source, ip)), elements);
    }
    if !own.is_empty() {
        one_by_one(draft, frontend, &own);
    } else if ambiguous.would_match_another(frontend) {
        // The constant rules match these flows, but a comparison before them would, too.
        one_by_one(draft, frontend, &frontend.members().collect::<Vec<_>>());
    }
}

/// Renders the host's networks for `source: auto` and `source: preserve`, if they are in use.
pub(super) fn near(draft: &mut Draft<'_, '_>, sources: BTreeSet<(Source, Ip)>, networks: &Networks) {
    let named = |key: Key, name| key.with(&dispatch::interface_octets(name));
    for (source, ip) in sources.into_iter().filter(|(source, _)| source.preserves_client()) {
        let on_link = networks.iter().filter(|(_, net)| Ip::of(net.addr()) == ip).map(|(name, net)| {
            let last = Data::KeyEnd(Octets::EMPTY.address(net.broadcast()));
            (named(Key::EMPTY, name).address(net.network()), last)
        });
        draft.fill(SetId::OnLink(ip), || Set::interval(fields([Field::Oifname, Field::Saddr(ip)])), on_link);
        if source == Source::Preserve {
            let back = networks.iter().map(|(name, _)| (named(named(Key::EMPTY, name), name), Data::None));
            draft.fill(SetId::SameInterface, || Set::plain(fields([Field::Iifname, Field::Oifname])), back);
        }
    }
}

/// Matches flows with a translated destination.
pub(super) fn translated() -> Statement {
    Statement::Match(Field::CtStatus, Comparison::AnyBit(Field::DNAT))
}

/// The constant postrouting rule for all unambiguous listeners with a source.
pub(super) fn constant_rule(source: Source, ip: Ip, set: SetName) -> Rule {
    let mut rule = treatment(source, ip).swap_remove(0);
    rule.insert(rule.len() - 1, Statement::InSet(key(source, ip), set));
    // nft places it before the first statement that reads the IP header.
    let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
    rule.insert(usize::from(source == Source::Preserve), version);
    Rule([translated()].into_iter().chain(rule).collect())
}

/// Statements for a flow of this source, rule by rule; the first rule that matches ends it.
fn treatment(source: Source, ip: Ip) -> Vec<Vec<Statement>> {
    let on_link = || Statement::InSet(fields([Field::Oifname, Field::Saddr(ip)]), SetId::OnLink(ip).into());
    let back = || Statement::InSet(fields([Field::Iifname, Field::Oifname]), SetId::SameInterface.into());
    match source {
        Source::Masquerade => vec![vec![Statement::Masquerade]],
        Source::Auto => vec![vec![on_link(), Statement::Masquerade], vec![Statement::Accept]],
        Source::Preserve => vec![vec![back(), on_link(), Statement::Masquerade], vec![Statement::Accept]],
        Source::Addresses(first, last, ports) => {
            let [first, last] = [first, last].map(|address| Octets::EMPTY.address(address));
            vec![vec![Statement::Snat { ip, first, last, ports }]]
        }
    }
}

/// Backends that need a comparison of their own, and the keys of all other backends.
pub(super) fn split_by_ambiguity<'a>(
    frontend: &Frontend<'a>,
    ambiguous: &AmbiguousFlows,
) -> (Vec<&'a Backend>, Vec<Key>) {
    let (protocol, listener) = (frontend.protocol(), frontend.listener);
    match (frontend.service.source.preserves_client(), listener.address, listener.exact()) {
        (true, Address::Exact(address), _) => (vec![], vec![Key::EMPTY.address(address).protocol(protocol)]),
        (false, _, Some((address, _))) => {
            let disputed = |backend: &Backend| ambiguous.is_ambiguous(frontend, address, backend);
            let all = frontend.has_own_source() && frontend.members().any(disputed);
            let (own, common): (Vec<_>, Vec<_>) =
                frontend.members().partition(|backend| all || disputed(backend));
            let key = |backend: &&Backend| {
                let key = Key::EMPTY.address(address).protocol(protocol).address(backend.address);
                key.port(frontend.backend_ports(backend).first)
            };
            (own, common.iter().map(key).collect())
        }
        _ => (frontend.members().collect(), vec![]),
    }
}

fn key(source: Source, ip: Ip) -> Vec<Operand> {
    match source.preserves_client() {
        true => fields([Field::CtOriginalDaddr(ip), Field::L4proto]),
        false => fields([Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport]),
    }
}

fn fields<const N: usize>(fields: [Field; N]) -> Vec<Operand> {
    fields.map(Operand::Field).to_vec()
}

/// Adds a listener to the chain `source`, with a set of its backends and a chain that translates their flows.
/// The chain is separate, because nft 1.0.6 cannot read back a rule with a port and `ct original proto-dst`.
fn one_by_one(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, backends: &[&Backend]) {
    let (source, ip) = (frontend.service.source, frontend.ip);
    let with_port = frontend.listener.ports.as_single().is_some()
        || backends.iter().all(|backend| matches!(backend.port, BackendPort::One(_)));
    let mut key = vec![Operand::Field(Field::Daddr(ip))];
    key.extend(with_port.then_some(Operand::Field(Field::Dport)));
    let elements = backends.iter().map(|backend| {
        let address = Key::EMPTY.address(backend.address);
        let key = if with_port { address.port(frontend.backend_ports(backend).first) } else { address };
        (key, Data::None)
    });
    let set =
        draft.fill(SetId::OwnSource(source, frontend.id(), !with_port), || Set::plain(key.clone()), elements);
    let rule = |then| {
        let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
        Rule([version, Statement::InSet(key.clone(), set.clone())].into_iter().chain(then).collect())
    };
    let rules = treatment(source, ip).into_iter().map(rule).collect();
    let chain = draft.own(ChainId::OwnSource(source, frontend.id(), !with_port), rules);

    let mut rule = vec![];
    if let Some(interface) = &frontend.service.interface {
        rule.push(Statement::is(Field::Iifname, &dispatch::interface_octets(interface)));
    }
    if frontend.listener.address == Address::Any {
        rule.push(Statement::is(Field::Nfproto, &[ip.nfproto()]));
    }
    rule.push(Statement::is(Field::L4proto, &[frontend.protocol()]));
    if let Address::Exact(address) = frontend.listener.address {
        rule.push(Statement::is(Field::CtOriginalDaddr(ip), Key::EMPTY.address(address).as_slice()));
    }
    rule.extend(dispatch::ports(Field::CtOriginalDport, frontend.listener.ports));
    rule.push(Statement::Jump(chain));
    draft.hook(ChainId::Source, frontend.rank(), Rule(rule));
}
