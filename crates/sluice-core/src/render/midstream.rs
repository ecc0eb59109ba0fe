//! TCP packets that begin no connection and belong to none that conntrack knows.
//!
//! conntrack takes such a packet for the first of a flow (unless `nf_conntrack_tcp_loose` is 0), so the nat chains see it.
//! Listeners that ignore them must not translate it: a program on this host may have the connection. Listeners that adopt
//! them translate it, to where another node translated it before.
//!
//! A SYN meets one more rule for that, and looks nothing up; docs/adr/0021-midstream.md explains why.

use sluice_nft::{ChainName, Comparison, Data, Field, Set, Statement};

use super::dispatch;
use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::{ChainId, SetId};
use crate::model::{Midstream, Protocol};

/// What arrives, at `prerouting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arriving {
    /// No rule: no TCP listener ignores anything.
    Adopted,
    /// One rule lets all pass.
    Ignored,
    /// The chain `midstream` tells one from the other.
    Mixed {
        /// Whether it has to know the exact listeners that ignore, because later rules would take their packets.
        by_rule: bool,
    },
}

/// Whether a listener translates such packets.
pub(super) fn adopts(frontend: &Frontend<'_>) -> bool {
    frontend.listener.protocol.has_midstream() && frontend.service.midstream == Midstream::Adopt
}

/// Matches a TCP packet that does, or does not, begin a connection.
pub(super) fn opens(yes: bool) -> [Statement; 2] {
    let (mask, value) = (Field::OPENING, Field::SYN);
    let test = if yes { Comparison::MaskedEq { mask, value } } else { Comparison::MaskedNe { mask, value } };
    [Statement::is(Field::L4proto, &[Protocol::Tcp.number()]), Statement::Match(Field::TcpFlags, test)]
}

/// Adds what the chain `midstream` needs of a listener whose new flows go to `chain`, if there is that chain.
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
