//! Packets that belong to no connection and cannot begin one: of an impossible combination of TCP flags, outside of
//! the window, too late. Nothing translates them. On their way they would reset healthy connections: the host answers
//! those sent to an address of its own, and clients those of a backend that they never asked.

use sluice_nft::{Base, Chain, Data, Element, Field, Ip, Key, Operand, Rule, Set, Statement, Test};

use super::entry::Entry;
use super::{Rendered, dispatch, names, synproxy};
use crate::model::Reason;

/// Adds what a listener needs for itself.
pub(super) fn render(rendered: &mut Rendered, entry: &Entry<'_>) {
    if !drops(entry) {
        return;
    }
    let Rendered { table, origins } = rendered;
    let origin = origins.add(entry.dropped(Reason::Invalid));
    let element = || Element { data: Data::None, origin };
    match entry.exact() {
        // An ACK that returns a cookie may be invalid, and nothing else that is gets past.
        Some(_) if synproxy::answers(entry) => {}
        Some((address, port)) => {
            let set = table.sets.entry(names::invalid_requests(entry.ip));
            let set = set.or_insert_with(|| Set::counted(dispatch::key(entry.ip)));
            let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
            set.elements.insert(listener, element());
        }
        None => {
            let name = names::private_invalid(entry);
            let key = vec![Operand::Field(Field::L4proto)];
            let rule = Rule(vec![Statement::InSet(key.clone(), name.as_str().into()), Statement::Drop]);
            table.chains.insert(name.clone(), Chain { base: None, rules: vec![rule] });
            let set = table.sets.entry(name.as_str().into()).or_insert_with(|| Set::counted(key));
            set.elements.insert(Key::EMPTY.protocol(entry.protocol()), element());
        }
    }
    let replies = table.sets.entry(names::invalid_replies(entry.ip));
    let replies = replies.or_insert_with(|| Set::counted(replies_key(entry.ip)));
    for backend in entry.members() {
        // Of a range no more than its first port: replies of the others pass, as without a guard.
        let key = Key::EMPTY.address(backend.address).protocol(entry.protocol());
        replies.elements.entry(key.port(entry.backend_ports(backend).first)).or_insert_with(element);
    }
}

/// Adds the base chain: one rule for a packet that is as it should be.
pub(super) fn base_chain(rendered: &mut Rendered, entries: &[Entry<'_>]) {
    let mut rules = Vec::new();
    let table = &mut rendered.table;
    for ip in Ip::ALL {
        for (name, key) in
            [(names::invalid_requests(ip), dispatch::key(ip)), (names::invalid_replies(ip), replies_key(ip))]
        {
            if table.sets.contains_key(&name) {
                let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
                rules.push(Rule(vec![version, Statement::InSet(key, name), Statement::Drop]));
            }
        }
    }
    for entry in entries.iter().filter(|entry| drops(entry) && entry.exact().is_none()) {
        rules.push(dispatch::arriving(entry, Statement::Goto(names::private_invalid(entry))));
    }
    if !rules.is_empty() {
        let is_invalid = Statement::Match(Field::CtState, Test::Has(Field::INVALID));
        let first = Rule(vec![is_invalid, Statement::Goto(names::invalid())]);
        table.chains.insert("guard".into(), Chain { base: Some(Base::GUARD), rules: vec![first] });
        table.chains.insert(names::invalid(), Chain { base: None, rules });
    }
}

fn drops(entry: &Entry<'_>) -> bool {
    entry.service.guard.as_ref().is_some_and(|guard| guard.drop_invalid)
}

fn replies_key(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::L4proto, Field::Sport].map(Operand::Field).to_vec()
}
