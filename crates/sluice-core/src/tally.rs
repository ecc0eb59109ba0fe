//! New connections by flow, and packets that the guard drops, from the counters of elements.

use std::collections::BTreeMap;

use sluice_nft::{Counters, Table};

use crate::model::InForce;
use crate::origin::{Flow, Origins};
use crate::render::entry::Entry;
use crate::render::{Layout, Rendered, render_counted};

/// New connections of each service, listener and backend, and what the guard drops for each reason.
pub type Tally = BTreeMap<Flow, u64>;

/// Adds up the counters of the elements of `table`, a rendered one, that stand for a backend or a reason.
///
/// A nat chain sees the first packet of a flow only, so an element's packets are new connections.
pub fn tally(table: &Table, origins: &Origins, counters: &Counters) -> Tally {
    let mut tally = Tally::new();
    add(&mut tally, table, origins, counters);
    tally
}

/// The same for all listeners, whose slots lie as `layout` says. Takes no memory for a table.
pub fn tally_services(services: InForce<'_>, layout: &Layout, counters: &Counters) -> Tally {
    let mut tally = Tally::new();
    if !counters.is_empty() {
        let mut places = layout.places();
        for (name, service) in services.iter() {
            let Rendered { table, origins } = render_counted(&Entry::of(name, service), layout, &mut places);
            add(&mut tally, &table, &origins, counters);
        }
    }
    tally
}

fn add(tally: &mut Tally, table: &Table, origins: &Origins, counters: &Counters) {
    for (name, set) in &table.sets {
        let Some(counted) = counters.get(name) else { continue };
        for (key, element) in &set.elements {
            let flow =
                origins.get(element.origin).filter(|flow| flow.backend.is_some() || flow.dropped.is_some());
            if let (Some(flow), Some(counter)) = (flow, counted.get(key)) {
                match tally.get_mut(flow) {
                    Some(total) => *total += counter.packets,
                    None => drop(tally.insert(flow.clone(), counter.packets)),
                }
            }
        }
    }
}
