//! Other tables that translate the same connections: which of two NAT chains sees a packet first, and so wins.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_core::model::Listener;
use sluice_nft::Ip;

use super::flows::to_listener;
use super::rules::{BaseChain, Hook, Packet, RuleTable, Verdict};
use super::tables::Tables;
use crate::text::safe;

/// Priority of the NAT chains of sluice at prerouting and output (`dstnat`).
pub(super) const OWN: i64 = -100;

/// A chain of another table that translates connections to a service, and which of both wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Conflict {
    /// The service.
    pub(crate) service: String,
    /// Its listeners that the chain translates.
    pub(crate) listeners: Vec<String>,
    /// The chain.
    pub(crate) chain: String,
    /// `sluice`, `other` or `unknown`.
    pub(crate) winner: &'static str,
    /// The reason.
    pub(crate) why: String,
}

/// Which of two NAT chains translates a packet.
pub(super) enum Order {
    OtherFirst,
    /// `for_good`: until a file changes.
    OwnFirst {
        for_good: bool,
    },
    Unknown,
}

/// The kernel calls NAT chains by priority, and those of one priority from the last registered to the first
/// (`nf_hook_entries_grow`). Tables with a larger handle were created later.
pub(super) fn order(tables: &Tables, table: &RuleTable, base: &BaseChain) -> (Order, String) {
    let priority = base.priority;
    if priority < OWN {
        let says = format!("its priority {priority} is before that of sluice ({OWN}), so it wins");
        return (Order::OtherFirst, says);
    }
    if priority > OWN {
        let says = format!("its priority {priority} is after that of sluice ({OWN}), so sluice wins");
        return (Order::OwnFirst { for_good: true }, says);
    }
    let flips = "both have priority -100, so the table that was loaded last wins";
    match (table.handle, tables.own_handle) {
        (Some(other), Some(own)) if other > own => {
            (Order::OtherFirst, format!("{flips}: now this one, until sluice creates its table again"))
        }
        (Some(_), Some(_)) => {
            let says = format!("{flips}: now that of sluice, until this one is loaded again");
            (Order::OwnFirst { for_good: false }, says)
        }
        (_, None) => {
            let says = format!("{flips}: that of sluice when sluiced starts, until this one is loaded again");
            (Order::OwnFirst { for_good: false }, says)
        }
        (None, Some(_)) => (Order::Unknown, format!("{flips}, and it changes with each load")),
    }
}

pub(super) fn translates(table: &RuleTable, base: &BaseChain, packet: &Packet) -> bool {
    table.verdicts(base, packet).iter().any(|(verdict, _)| **verdict == Verdict::Translate)
}

fn nat_chains(tables: &Tables) -> impl Iterator<Item = (&RuleTable, &BaseChain)> {
    let all = tables.others.iter().flat_map(|table| table.bases.iter().map(move |base| (table, base)));
    all.filter(|(_, base)| base.is_nat)
}

/// What other tables do to the first packet of a flow beside sluice, one line each.
pub(crate) fn also_translated(tables: &Tables, packet: &Packet, hook: Hook) -> Vec<String> {
    let other = nat_chains(tables).filter(|(_, base)| base.hook == hook);
    let other = other.filter(|(table, base)| translates(table, base, packet));
    let line = |(table, base): (&RuleTable, &BaseChain)| {
        let (_, says) = order(tables, table, base);
        format!("{} also translates it: {says}", table.name(&base.name))
    };
    other.map(line).collect()
}

/// Conflicts about connections that arrive for these listeners of services, by chain and service.
pub(crate) fn conflicts(tables: &Tables, listeners: &[(&str, Listener, Ip)]) -> Vec<Conflict> {
    let mut conflicts = vec![];
    for (table, base) in nat_chains(tables).filter(|(_, base)| base.hook == Hook::Prerouting) {
        let mut translated: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (service, listener, ip) in listeners {
            if translates(table, base, &to_listener(listener, *ip)) {
                let (listeners, name) = (translated.entry(service).or_default(), listener.to_string());
                // Once for both IP versions.
                if listeners.last() != Some(&name) {
                    listeners.push(name);
                }
            }
        }
        let (order, why) = order(tables, table, base);
        let winner = match order {
            Order::OtherFirst => "other",
            Order::OwnFirst { .. } => "sluice",
            Order::Unknown => "unknown",
        };
        let chain = safe(&table.name(&base.name)).into_owned();
        conflicts.extend(translated.into_iter().map(|(service, listeners)| Conflict {
            service: service.to_owned(),
            listeners,
            chain: chain.clone(),
            winner,
            why: why.clone(),
        }));
    }
    conflicts
}
