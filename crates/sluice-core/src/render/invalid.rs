//! Drops invalid packets, which belong to no connection and cannot begin one: impossible TCP flags, sequence
//! numbers outside of the window, late packets. NAT does not translate them. The host would answer those to
//! its own addresses, and clients those from a backend, with resets that break healthy connections.

use sluice_nft::{Data, Field, Ip, Key, Operand, Rule, Set, SetName, Statement};

use super::fragment::Draft;
use super::frontend::{Frontend, Rank};
use super::names::{ChainId, SetId};
use super::{dispatch, synproxy};

/// Renders the sets and rules that drop invalid packets to a listener and from its backends.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>) {
    if !frontend.service.guard.as_ref().is_some_and(|guard| guard.drop_invalid) {
        return;
    }
    match frontend.exact_key() {
        // An ACK with a SYN cookie may be invalid; the synproxy rules drop all other invalid packets.
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
        // For a range of ports, only replies from its first port are dropped; other replies pass as without a
        // guard.
        let key = Key::EMPTY.address(backend.address).protocol(frontend.protocol());
        (key.port(frontend.backend_ports(backend).first), Data::None)
    });
    draft.fill(SetId::InvalidReplies(frontend.ip), || Set::counted(replies_key(frontend.ip)), replies);
}

/// The key of sets of backends for replies.
pub(super) fn replies_key(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::L4proto, Field::Sport].map(Operand::Field).to_vec()
}
