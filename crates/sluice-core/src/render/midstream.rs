//! Midstream TCP packets: they do not begin a connection, and conntrack does not know their connection.
//!
//! conntrack takes such a packet for the first of a flow unless `nf_conntrack_tcp_loose` is 0, so nat chains
//! process it. Listeners that ignore midstream packets must not translate them, because a program on this
//! host may have the connection. Listeners that adopt them translate them to the backend to which another
//! node translated them before.
//!
//! The rule for these packets costs a SYN one match and no lookup; docs/adr/0021-midstream.md explains why.

use sluice_nft::{ChainName, Comparison, Data, Field, Set, Statement};

use super::dispatch;
use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::{ChainId, SetId};
use crate::model::{Midstream, Protocol};

/// How `prerouting` treats midstream packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arriving {
    /// No rule: every TCP listener adopts them.
    Adopted,
    /// One rule accepts all of them without translation: every TCP listener ignores them.
    Ignored,
    /// The chain `midstream` distinguishes the listeners.
    Mixed {
        /// Whether it must look up exact listeners that ignore them, because later rules would match their
        /// packets.
        by_rule: bool,
    },
}

/// Whether a listener adopts midstream packets.
pub(super) fn adopts(frontend: &Frontend<'_>) -> bool {
    frontend.listener.protocol.has_midstream() && frontend.service.midstream == Midstream::Adopt
}

/// Matches a TCP packet that begins a connection, or one that does not.
pub(super) fn opens(yes: bool) -> [Statement; 2] {
    let (mask, value) = (Field::OPENING, Field::SYN);
    let test = if yes { Comparison::MaskedEq { mask, value } } else { Comparison::MaskedNe { mask, value } };
    [Statement::is(Field::L4proto, &[Protocol::Tcp.number()]), Statement::Match(Field::TcpFlags, test)]
}

/// Renders the entry of a listener in the chain `midstream`; its new flows go to `chain`.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, chain: &ChainName) {
    if !frontend.listener.protocol.has_midstream() {
        return;
    }
    let key = || dispatch::key(frontend.ip);
    match frontend.exact_key() {
        Some(listener) if adopts(frontend) => {
            let element = (listener, Data::Goto(chain.clone()));
            draft.fill(SetId::Adopted(frontend.ip), || Set::verdicts(key()), [element]);
        }
        Some(listener) => {
            draft.fill(SetId::Ignored(frontend.ip), || Set::plain(key()), [(listener, Data::None)]);
        }
        None => {
            let verdict = if adopts(frontend) { Statement::Goto(chain.clone()) } else { Statement::Accept };
            draft.hook(ChainId::Midstream, frontend.rank(), dispatch::arriving(frontend, verdict));
        }
    }
}
