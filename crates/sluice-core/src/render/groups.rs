//! Affinity groups: the listeners of one service at one address, which share their known clients.
//!
//! The keys of client maps are client, listener address and group number. A number is unique at its address;
//! services at different addresses share numbers, and thereby chains. A service keeps the number of its first
//! listener that has one in the kernel, so that adding or removing listeners forgets no client. Other numbers
//! in use are not reused, because the maps may contain clients of other services under them.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::frontend::Frontend;
use super::layout::GroupNumbers;
use crate::model::ServiceName;

/// Group numbers by service and address.
#[derive(Debug, Default)]
pub(crate) struct Groups<'a>(pub(super) BTreeMap<(&'a ServiceName, IpAddr), u32>);

impl<'a> Groups<'a> {
    /// Numbers the groups of these frontends. A group without a number in `held` gets the port of its first
    /// listener if that number is free at the address, otherwise the port plus the lowest free multiple of
    /// 65,536.
    pub(crate) fn of(frontends: &[Frontend<'a>], held: &GroupNumbers) -> Self {
        let affine = frontends.iter().filter(|frontend| frontend.service.affinity.is_some());
        let listeners: Vec<_> = affine.filter_map(|frontend| Some((frontend, frontend.exact()?))).collect();
        let mut numbers = BTreeMap::new();
        let mut taken = HashSet::new();
        for (frontend, (address, port)) in &listeners {
            let id = (frontend.name, *address);
            if !numbers.contains_key(&id)
                && let Some(number) = held.0.get(&(*address, frontend.protocol(), *port))
                && taken.insert((*address, *number))
            {
                numbers.insert(id, *number);
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
}
