//! Reset of the flows that the daemon has given up on.
//!
//! Which those are, it tells the kernel flow by flow, outside of the ruleset: it gives their conntrack entries an end
//! that packets do not put off. One constant rule answers every packet of such a flow, either way, with a reset.

use sluice_nft::{Field, Rule, Statement, Test};

use super::entry::Entry;
use crate::model::{OnDeny, OnDown, Protocol};

/// The rule at `forward`.
pub(super) fn rule() -> Rule {
    let has = |bit| Statement::Match(Field::CtStatus, Test::Has(bit));
    Rule(vec![
        has(Field::DNAT),
        has(Field::FIXED_TIMEOUT),
        Statement::is(Field::L4proto, &[Protocol::Tcp.number()]),
        Statement::RejectReset,
    ])
}

/// Whether flows of an entry may have to be reset.
pub(super) fn resets(entry: &Entry<'_>) -> bool {
    let service = entry.service;
    let selects = || service.guard.as_ref().is_some_and(|guard| guard.selects_clients());
    entry.listener.protocol.has_reset()
        && (service.on_down == OnDown::Reset || service.on_deny == OnDeny::Reset && selects())
}
