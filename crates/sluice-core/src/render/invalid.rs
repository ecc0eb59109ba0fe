//! Packets that belong to no connection and cannot begin one: of an impossible combination of TCP flags, outside of
//! the window, too late. Nothing translates them. On their way they would reset healthy connections: the host answers
//! those sent to an address of its own, and clients those of a backend that they never asked.

use sluice_nft::{Data, Field, Ip, Key, Operand, Rule, Set, SetName, Statement};

use super::entry::{Entry, Rank};
use super::fragment::Draft;
use super::names::{ChainId, SetId};
use super::{dispatch, synproxy};

/// Adds what a listener needs that drops them.
pub(super) fn render(draft: &mut Draft<'_, '_>, entry: &Entry<'_>) {
    if !entry.service.guard.as_ref().is_some_and(|guard| guard.drop_invalid) {
        return;
    }
    match entry.exact_key() {
        // An ACK that returns a cookie may be invalid, and nothing else that is gets past.
        Some(_) if synproxy::answers(entry) => {}
        Some(listener) => {
            let declare = || Set::counted(dispatch::key(entry.ip));
            draft.fill(SetId::InvalidRequests(entry.ip), declare, [(listener, Data::None)]);
        }
        None => {
            let key = || vec![Operand::Field(Field::L4proto)];
            let element = (Key::EMPTY.protocol(entry.protocol()), Data::None);
            let set: SetName = draft.fill(SetId::Invalid(entry.id()), || Set::counted(key()), [element]);
            let rule = Rule(vec![Statement::InSet(key(), set), Statement::Drop]);
            let chain = draft.own(ChainId::OwnInvalid(entry.id()), vec![rule]);
            draft.hook(ChainId::Invalid, Rank::Exact, dispatch::arriving(entry, Statement::Goto(chain)));
        }
    }
    let replies = entry.members().map(|backend| {
        // Of a range no more than its first port: replies of the others pass, as without a guard.
        let key = Key::EMPTY.address(backend.address).protocol(entry.protocol());
        (key.port(entry.backend_ports(backend).first), Data::None)
    });
    draft.fill(SetId::InvalidReplies(entry.ip), || Set::counted(replies_key(entry.ip)), replies);
}

/// What replies of backends are looked up by.
pub(super) fn replies_key(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::L4proto, Field::Sport].map(Operand::Field).to_vec()
}
