//! Affinity groups: listeners of one service at one address, which know the same clients.
//!
//! The maps of clients are keyed by client, listener address and the number of the group. A number is unique at its
//! address. Services at different addresses share numbers, so that they share chains. A service keeps the number of its
//! first listener that has one in the kernel, so that a reload which adds or removes listeners forgets no client. Any
//! other number that is in use is left alone, because clients of another service may still be known under it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::frontend::Frontend;
use super::layout::GroupNumbers;
use crate::model::ServiceName;

/// The number of each group, by service and address.
#[derive(Debug, Default)]
pub(crate) struct Groups<'a>(BTreeMap<(&'a ServiceName, IpAddr), u32>);

impl<'a> Groups<'a> {
    /// Numbers the groups of these entries. A group without one in `held` gets the port of its first listener
    /// if that is free at the address, otherwise the port plus the lowest multiple of 65,536 that is.
    pub(crate) fn of(frontends: &[Frontend<'a>], held: &GroupNumbers) -> Self {
        let affine = frontends.iter().filter(|frontend| frontend.service.affinity.is_some());
        let listeners: Vec<_> = affine.filter_map(|frontend| Some((frontend, frontend.exact()?))).collect();
        let mut numbers = BTreeMap::new();
        let mut taken = HashSet::new();
        for (frontend, (address, port)) in &listeners {
            let id = (frontend.name, *address);
            if !numbers.contains_key(&id)
                && let Some(number) = held.of_listener((*address, frontend.protocol(), *port))
                && taken.insert((*address, number))
            {
                numbers.insert(id, number);
            }
        }
        if listeners.iter().all(|(frontend, (address, _))| numbers.contains_key(&(frontend.name, *address))) {
            return Groups(numbers);
        }
        taken.extend(held.0.iter().map(|((address, ..), number)| (*address, *number)));
        for (frontend, (address, port)) in &listeners {
            numbers.entry((frontend.name, *address)).or_insert_with(|| {
                let mut candidates = (u32::from(*port)..).step_by(1 << 16);
                let free = candidates.find(|number| taken.insert((*address, *number)));
                free.expect("an address has fewer groups than there are numbers")
            });
        }
        Groups(numbers)
    }

    /// The number of the group of a service at an address.
    pub(super) fn number(&self, frontend: &Frontend<'_>, address: IpAddr) -> Option<u32> {
        self.0.get(&(frontend.name, address)).copied()
    }
}
