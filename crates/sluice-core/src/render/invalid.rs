//! Packets that belong to no connection and cannot begin one: of an impossible combination of TCP flags, outside of
//! the window, too late. Nothing translates them. On their way they would reset healthy connections: the host answers
//! those sent to an address of its own, and clients those of a backend that they never asked.

use sluice_nft::{Data, Field, Ip, Key, Operand, Rule, Set, SetName, Statement};

use super::fragment::Draft;
use super::frontend::{Frontend, Rank};
use super::names::{ChainId, SetId};
use super::{dispatch, synproxy};

/// Adds what a listener needs that drops them.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>) {
    if !frontend.service.guard.as_ref().is_some_and(|guard| guard.drop_invalid) {
        return;
    }
    match frontend.exact_key() {
        // An ACK that returns a cookie may be invalid, and nothing else that is gets past.
        Some(_) if synproxy::answers(frontend) => {}
        Some(listener) => {
            let declare = || Set::counted(dispatch::key(frontend.ip));
            draft.fill(SetId::InvalidRequests(frontend.ip), declare, [(listener, Data::None)]);
        }
        None => {
            let key = || vec![Operand::Field(Field::L4proto)];
            let element = (Key::EMPTY.protocol(frontend.protocol()), Data::None);
            let set: SetName = draft.fill(SetId::Invalid(frontend.id()), || Set::counted(key()), [element]);
            let rule = Rule(vec![Statement::InSet(key(), set), Statement::Drop]);
            let chain = draft.own(ChainId::OwnInvalid(frontend.id()), vec![rule]);
            draft.hook(ChainId::Invalid, Rank::Exact, dispatch::arriving(frontend, Statement::Goto(chain)));
        }
    }
    let replies = frontend.members().map(|backend| {
        // Of a range no more than its first port: replies of the others pass, as without a guard.
        let key = Key::EMPTY.address(backend.address).protocol(frontend.protocol());
        (key.port(frontend.backend_ports(backend).first), Data::None)
    });
    draft.fill(SetId::InvalidReplies(frontend.ip), || Set::counted(replies_key(frontend.ip)), replies);
}

/// What replies of backends are looked up by.
pub(super) fn replies_key(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::L4proto, Field::Sport].map(Operand::Field).to_vec()
}
