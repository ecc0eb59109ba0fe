//! Reset of the flows that the daemon has given up on.
//!
//! Which those are, it tells the kernel flow by flow, outside of the ruleset: it gives their conntrack entries an end
//! that packets do not put off. One constant rule answers every packet of such a flow, either way, with a reset.

use sluice_nft::{Comparison, Field, Rule, Statement};

use super::frontend::Frontend;
use crate::model::{OnDeny, OnDown, Protocol};

/// The rule at `forward`.
pub(super) fn rule() -> Rule {
    let has = |bit| Statement::Match(Field::CtStatus, Comparison::AnyBit(bit));
    Rule(vec![
        has(Field::DNAT),
        has(Field::FIXED_TIMEOUT),
        Statement::is(Field::L4proto, &[Protocol::Tcp.number()]),
        Statement::RejectReset,
    ])
}

/// Whether flows of an entry may have to be reset.
pub(super) fn resets(frontend: &Frontend<'_>) -> bool {
    let service = frontend.service;
    let selects = || service.guard.as_ref().is_some_and(|guard| guard.selects_clients());
    frontend.listener.protocol.has_reset()
        && (service.on_down == OnDown::Reset || service.on_deny == OnDeny::Reset && selects())
}
