//! Attribution of elements and their counters to services, listeners and backends.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Counter, Counters, Key};

use super::fragment::Fragment;
use super::names::{FrontendId, SetId};
use super::program::Fragments;
use crate::model::ServiceName;
use crate::render::owner::{Flow, Owner};

/// New connections by service, listener and backend, and dropped packets by reason.
pub type ConnectionCounts = BTreeMap<Flow, u64>;

impl Fragments {
    /// Sums the counters of elements with a backend or a drop reason.
    ///
    /// A nat chain processes only the first packet of a flow, so the packets of an element are new
    /// connections.
    pub fn connection_counts(&self, counters: &Counters) -> ConnectionCounts {
        connection_counts(self.iter(), counters)
    }

    /// Sums the counters of some services; `None`: of all.
    pub(crate) fn connection_counts_of<'a>(
        &'a self,
        services: Option<impl DoubleEndedIterator<Item = &'a Option<ServiceName>>>,
        counters: &Counters,
    ) -> ConnectionCounts {
        let Some(services) = services else { return self.connection_counts(counters) };
        connection_counts(services.filter_map(|name| self.0.get(name)).flat_map(|of| of.iter()), counters)
    }

    /// The owners of elements, by set.
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
        // While a set is replaced by one of another size, both exist.
        if let Some(id) = SetId::parse(name) {
            by_set.entry(id).or_default().push(counted);
        }
    }
    let mut connection_counts = ConnectionCounts::new();
    // An element of several frontends counts for the last of them.
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
                let FrontendId { service, listener, .. } = owner.frontend;
                let (service, backend, dropped) = (service.clone(), owner.backend.cloned(), owner.dropped);
                let flow = Flow { service, listener: *listener, backend, dropped };
                *connection_counts.entry(flow).or_default() += packets.iter().sum::<u64>();
            }
        }
    }
    connection_counts
}
