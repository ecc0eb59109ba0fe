//! New connections by flow, from the counters of slot elements.

use std::collections::BTreeMap;

use sluice_nft::{Counters, Table};

use crate::origin::{Flow, Origins};

/// New connections of each service, listener and backend.
pub type Tally = BTreeMap<Flow, u64>;

/// Adds up the counters of the elements of `table`, a rendered one, that stand for a backend.
///
/// A nat chain sees the first packet of a flow only, so an element's packets are new connections.
pub fn tally(table: &Table, origins: &Origins, counters: &Counters) -> Tally {
    let mut tally = Tally::new();
    for (name, counted) in counters {
        let Some(set) = table.sets.get(name) else { continue };
        for (key, counter) in counted {
            let flow = set.elements.get(key).and_then(|element| origins.get(element.origin));
            if let Some(flow) = flow.filter(|flow| flow.backend.is_some()) {
                match tally.get_mut(flow) {
                    Some(total) => *total += counter.packets,
                    None => drop(tally.insert(flow.clone(), counter.packets)),
                }
            }
        }
    }
    tally
}
