//! Attribution of elements and their counters: to what their fragments say.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Counter, Counters, Key};

use super::fragment::Fragment;
use super::names::{FrontendId, SetId};
use super::program::Fragments;
use crate::model::ServiceName;
use crate::render::owner::{Flow, Owner};

/// New connections of each service, listener and backend, and what the guard drops for each reason.
pub type ConnectionCounts = BTreeMap<Flow, u64>;

impl Fragments {
    /// Adds up the counters of elements that stand for a backend or a reason.
    ///
    /// A nat chain sees the first packet of a flow only, so an element's packets are new connections.
    pub fn connection_counts(&self, counters: &Counters) -> ConnectionCounts {
        connection_counts(self.iter(), counters)
    }

    /// The same for some services.
    pub(crate) fn connection_counts_of<'a>(
        &'a self,
        services: impl DoubleEndedIterator<Item = &'a Option<ServiceName>>,
        counters: &Counters,
    ) -> ConnectionCounts {
        connection_counts(
            services.filter_map(|service| self.0.get(service)).flat_map(|of| of.iter()),
            counters,
        )
    }

    /// What each element is for, by set.
    pub fn owners(&self) -> BTreeMap<&SetId, BTreeMap<Key, Owner<'_>>> {
        let mut owners = BTreeMap::<_, BTreeMap<_, _>>::new();
        for fragment in self.iter() {
            for elements in &fragment.elements {
                let of_set = owners.entry(&elements.set.id).or_default();
                of_set.extend(fragment.owned(elements));
            }
        }
        owners
    }
}

fn connection_counts<'a>(
    fragments: impl DoubleEndedIterator<Item = &'a Fragment>,
    counters: &Counters,
) -> ConnectionCounts {
    let mut by_set = BTreeMap::<SetId, Vec<&BTreeMap<Key, Counter>>>::new();
    for (name, counted) in counters.iter().filter(|(_, counted)| !counted.is_empty()) {
        // While a set grows out of its size there are two.
        if let Some(id) = SetId::parse(name) {
            by_set.entry(id).or_default().push(counted);
        }
    }
    let mut connection_counts = ConnectionCounts::new();
    // An element that several frontends need counts for the last.
    let mut counted_once = BTreeSet::new();
    for fragment in fragments.rev().filter(|_| !by_set.is_empty()) {
        for elements in &fragment.elements {
            let Some(counted) = by_set.get(&elements.set.id) else { continue };
            let is_common = elements.set.id.has_common_elements();
            let counts = |owner: &Owner<'_>| owner.backend.is_some() || owner.dropped.is_some();
            for (key, owner) in fragment.owned(elements).filter(|(_, owner)| counts(owner)) {
                let packets: Vec<u64> =
                    counted.iter().filter_map(|counted| Some(counted.get(&key)?.packets)).collect();
                if packets.is_empty() || is_common && !counted_once.insert((&elements.set.id, key)) {
                    continue;
                }
                *connection_counts.entry(flow(owner)).or_default() += packets.iter().sum::<u64>();
            }
        }
    }
    connection_counts
}

fn flow(Owner { frontend, backend, dropped }: Owner<'_>) -> Flow {
    let FrontendId { service, listener, .. } = frontend;
    Flow { service: service.clone(), listener: *listener, backend: backend.cloned(), dropped }
}
