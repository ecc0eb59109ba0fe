//! Handshakes that the host completes before it keeps anything of a client: a SYN is not tracked and answered with a
//! cookie, and only a client that returns it gets a connection, which the host opens in its name.
//!
//! The SYN is picked out before conntrack, by a verdict map, and answered at input or forward, depending on whose address
//! it is for. The host's own SYN goes through `output`, like that of a local client, to the guard and a backend.
//! docs/adr/0015-synproxy.md says why so.

use sluice_nft::{Base, Chain, Data, Element, Field, Ip, Key, Rule, Set, Statement, Table, Test};

use super::entry::Entry;
use super::{Rendered, dispatch, guard, midstream, names};

/// Whether the host answers handshakes for a listener: only while somebody serves, for a client is better off with a
/// refusal than with a connection that leads nowhere.
pub(super) fn answers(entry: &Entry<'_>) -> bool {
    entry.service.synproxy
        && entry.listener.protocol.has_synproxy()
        && entry.exact().is_some()
        && !entry.backends.is_empty()
}

/// Adds a listener to what SYNs and their answers are looked up in.
pub(super) fn render(rendered: &mut Rendered, entry: &Entry<'_>) {
    let Some((address, port)) = entry.exact().filter(|_| answers(entry)) else { return };
    let chain = guard::before_handshake(rendered, entry);
    let origin = rendered.origins.add(entry.flow(None));
    let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
    let sets = &mut rendered.table.sets;
    let syns = sets.entry(names::syns(entry.ip)).or_insert_with(|| Set::verdicts(dispatch::key(entry.ip)));
    syns.elements.insert(listener, Element { data: Data::Goto(chain), origin });
    let proxied = sets.entry(names::proxied(entry.ip)).or_insert_with(|| Set::plain(dispatch::key(entry.ip)));
    proxied.elements.insert(listener, Element { data: Data::None, origin });
}

/// Rules for `prerouting`: an ACK that returns a cookie stays as it is, or it would be taken for a connection whose
/// beginning conntrack missed. Of those to these listeners there are none, for their SYNs are not tracked. Where all
/// listeners ignore such packets, another rule does the same.
pub(super) fn acks(table: &Table) -> Vec<Rule> {
    let rule = |ip: Ip| {
        let look_up = [
            Statement::is(Field::Nfproto, &[ip.nfproto()]),
            Statement::InSet(dispatch::key(ip), names::proxied(ip)),
            Statement::Accept,
        ];
        Rule(midstream::opens(false).into_iter().chain(look_up).collect())
    };
    versions(table).map(rule).collect()
}

/// IP versions with such listeners.
fn versions(table: &Table) -> impl Iterator<Item = Ip> {
    Ip::ALL.into_iter().filter(|ip| table.sets.contains_key(&names::syns(*ip)))
}

/// Adds the base chains: one that sees SYNs before conntrack does, and two that see what belongs to no connection yet.
pub(super) fn base_chains(table: &mut Table) {
    let (mut syn, mut handshake) = (vec![], vec![]);
    for ip in versions(table) {
        let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
        let look_up = [version(), Statement::VerdictMap(dispatch::key(ip), names::syns(ip))];
        syn.push(Rule(midstream::opens(true).into_iter().chain(look_up).collect()));
        // What is neither a SYN nor an ACK is answered by nobody.
        handshake.extend([Statement::Synproxy { mss: mss(ip) }, Statement::Drop].map(|then| {
            Rule(vec![version(), Statement::InSet(dispatch::key(ip), names::proxied(ip)), then])
        }));
    }
    if syn.is_empty() {
        return;
    }
    let base = |base, rules| Chain { base: Some(base), rules };
    table.chains.insert("syn".into(), base(Base::SYN, syn));
    table.chains.insert(names::handshake(), Chain { base: None, rules: handshake });
    // An ACK that returns a cookie is new or invalid, depending on `nf_conntrack_tcp_loose`.
    let no_connection = Test::Has(Field::INVALID | Field::NEW | Field::UNTRACKED);
    for (name, at) in [("input", Base::INPUT), ("forward", Base::FORWARD)] {
        let rule = vec![
            Statement::Match(Field::CtState, no_connection.clone()),
            Statement::Jump(names::handshake()),
        ];
        table.chains.insert(name.into(), base(at, vec![Rule(rule)]));
    }
}

/// What an Ethernet frame has room for.
fn mss(ip: Ip) -> u16 {
    match ip {
        Ip::V4 => 1460,
        Ip::V6 => 1440,
    }
}
