//! Forward: reset the flows that the daemon has given up on.
//!
//! Which those are, it tells the kernel flow by flow, outside of the ruleset: it gives their conntrack entries an end
//! that packets do not put off. One constant rule answers every packet of such a flow, either way, with a reset.

use sluice_nft::{Base, Field, Rule, Statement, Table, Test};

use super::entry::Entry;
use crate::model::{OnDeny, OnDown, Protocol};

/// Adds the chain if any service wants it.
pub(super) fn render(table: &mut Table, entries: &[Entry<'_>]) {
    if entries.iter().any(resets) {
        let has = |bit| Statement::Match(Field::CtStatus, Test::Has(bit));
        let rule = vec![
            has(Field::DNAT),
            has(Field::FIXED_TIMEOUT),
            Statement::is(Field::L4proto, &[Protocol::Tcp.number()]),
            Statement::RejectReset,
        ];
        let forward = table.chains.entry("forward".into()).or_default();
        forward.base = Some(Base::FORWARD);
        forward.rules.push(Rule(rule));
    }
}

/// Whether flows of an entry may have to be reset.
pub(crate) fn resets(entry: &Entry<'_>) -> bool {
    let service = entry.service;
    let selects = || service.guard.as_ref().is_some_and(|guard| guard.selects_clients());
    entry.listener.protocol.has_reset()
        && (service.on_down == OnDown::Reset || service.on_deny == OnDeny::Reset && selects())
}
