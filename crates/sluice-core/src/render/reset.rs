//! The rule that resets flows.
//!
//! The daemon marks these flows in conntrack, not in the ruleset: it gives their entries a fixed timeout. One
//! constant rule answers each packet of such a flow, in both directions, with a reset.

use sluice_nft::{Comparison, Field, Rule, Statement};

use super::frontend::Frontend;
use crate::model::{OnDeny, OnDown, Protocol};

/// The rule in the chain `forward`.
pub(super) fn rule() -> Rule {
    let has = |bit| Statement::Match(Field::CtStatus, Comparison::AnyBit(bit));
    Rule(vec![
        has(Field::DNAT),
        has(Field::FIXED_TIMEOUT),
        Statement::is(Field::L4proto, &[Protocol::Tcp.number()]),
        Statement::RejectReset,
    ])
}

/// Whether flows of a frontend may have to be reset.
pub(super) fn resets(frontend: &Frontend<'_>) -> bool {
    let service = frontend.service;
    let selects = || service.guard.as_ref().is_some_and(|guard| guard.selects_clients());
    frontend.listener.protocol.has_reset()
        && (service.on_down == OnDown::Reset || service.on_deny == OnDeny::Reset && selects())
}
