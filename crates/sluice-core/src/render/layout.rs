//! Stripes: slot numbers of listeners with a pick chain of their own.
//!
//! Such a listener has a stripe of 65,536 slot numbers in a map of fixed size, which at most 128 listeners
//! share. When a rule is bound to a map, the kernel walks the elements of the map, and when an element is
//! added, the rules; so maps must be small. Each map makes every lookup of a set by name slower; so maps must
//! be few.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_nft::{Chain, Ip, Operand, Statement, Table};

use super::affinity;
use super::names::{ChainId, FrontendId, SetId};
use crate::render::slots::MAX_SLOTS;

/// Maximum number of listeners per map.
const LISTENERS_PER_MAP: u32 = 128;

/// Size of a map, unless its first listener needs a larger one.
const MAP_SIZE: u32 = 1024;

/// Key and data of a map of stripes; see `pick`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum MapShape {
    /// Slot to address and port.
    Slots,
    /// Slot to address; the port does not change.
    Addresses,
    /// Slot and destination port to address and port. Such a map has one listener.
    Ports,
}

/// The stripe of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripe {
    pub(super) map: Map,
    /// First slot number.
    pub(super) base: u32,
    /// Number of slots.
    pub(super) slots: u32,
    /// Size of the map.
    pub(super) size: u32,
}

/// A map of stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Map {
    pub(super) shape: MapShape,
    pub(super) ip: Ip,
    number: u32,
}

impl Map {
    pub(super) fn id(self) -> SetId {
        SetId::Stripes(self.shape, self.ip, self.number)
    }

    pub(super) fn of(id: &SetId) -> Option<Self> {
        match id {
            SetId::Stripes(shape, ip, number) => Some(Map { shape: *shape, ip: *ip, number: *number }),
            _ => None,
        }
    }
}

/// Address, protocol number and port of a listener with affinity.
pub(crate) type ListenerKey = (IpAddr, u8, u16);

/// The stripes and affinity groups of the table in the kernel, read from its rules and elements.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Stripes by frontend.
    pub(super) stripes: BTreeMap<FrontendId, Stripe>,
    pub(super) stripes_in_use: StripeAllocator,
    pub(super) groups: GroupNumbers,
}

/// Numbers of affinity groups by listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupNumbers(pub(super) BTreeMap<ListenerKey, u32>);

impl GroupNumbers {
    /// The numbers in a table.
    pub fn of(table: &Table) -> Self {
        let is_any = super::clients::maps(table).next().is_some();
        GroupNumbers(if is_any { affinity::groups(table).collect() } else { BTreeMap::new() })
    }
}

impl Layout {
    /// The layout of a table; empty without a table.
    pub(super) fn of(table: Option<&Table>) -> Self {
        let mut layout = Layout::default();
        let Some(table) = table else { return layout };
        for (name, set) in &table.sets {
            if let (Some(map), Some(size)) = (SetId::parse(name).and_then(|id| Map::of(&id)), set.size) {
                layout.stripes_in_use.record(map, size, set.elements.len() as u32);
            }
        }
        let mut led_to = BTreeMap::<Map, u32>::new();
        for (name, chain) in &table.chains {
            for stripe in stripes(chain, table) {
                // A chain with another name, of an older version, also uses its stripe until the switch.
                layout.stripes_in_use.mark_used(&stripe);
                if let Some(ChainId::Pick(frontend)) = ChainId::parse(name) {
                    layout.stripes.insert(frontend, stripe);
                    *led_to.entry(stripe.map).or_default() += stripe.slots;
                }
            }
        }
        // Deleted elements will be added again.
        for (map, slots) in led_to {
            layout.stripes_in_use.maps.entry(map).and_modify(|of| of.held = of.held.max(slots));
        }
        layout.groups = GroupNumbers::of(table);
        layout
    }
}

/// Stripes that the rules of a chain look up.
fn stripes(chain: &Chain, table: &Table) -> Vec<Stripe> {
    let look_ups = chain.rules.iter().flat_map(|rule| &rule.0).filter_map(|statement| match statement {
        Statement::Dnat { key, map, .. } => Some((key.last()?, map)),
        _ => None,
    });
    let stripe = |(key, name): (&Operand, _)| match key {
        Operand::Slot(pick) => {
            let ((slots, base), map) = (pick.range(), Map::of(&SetId::parse(name)?)?);
            Some(Stripe { map, base, slots, size: table.sets.get(name)?.size? })
        }
        Operand::Field(_) | Operand::Prefix(..) => None,
    };
    look_ups.filter_map(stripe).collect()
}

/// Allocates stripes, and records which are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StripeAllocator {
    maps: BTreeMap<Map, Taken>,
    /// The map of each kind that had room last; maps before it are not tried again.
    next: BTreeMap<(MapShape, Ip), u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    size: u32,
    /// Number of its elements, including planned ones.
    held: u32,
    /// One bit per used stripe.
    stripes: u128,
}

impl StripeAllocator {
    /// Allocates the lowest free stripe of a map with room for `elements` more elements.
    pub(super) fn take(&mut self, shape: MapShape, ip: Ip, slots: u32, elements: u32) -> Stripe {
        let StripeAllocator { maps, next } = self;
        let number = next.entry((shape, ip)).or_default();
        let has_room =
            |map: &Taken| map.stripes != u128::MAX && map.size.saturating_sub(map.held) >= elements;
        while maps.get(&Map { shape, ip, number: *number }).is_some_and(|map| !has_room(map)) {
            *number += 1;
        }
        let (size, id) = (MAP_SIZE.max(elements.next_power_of_two()), Map { shape, ip, number: *number });
        let map = maps.entry(id).or_insert(Taken { size, held: 0, stripes: 0 });
        let stripe = map.stripes.trailing_ones();
        map.stripes = if shape == MapShape::Ports { u128::MAX } else { map.stripes | 1 << stripe };
        map.held += elements;
        Stripe { map: id, base: stripe * MAX_SLOTS, slots, size: map.size }
    }

    /// Records the number of elements of a map.
    pub(super) fn record(&mut self, map: Map, size: u32, held: u32) {
        let whole = if map.shape == MapShape::Ports { u128::MAX } else { 0 };
        let stripes = self.maps.get(&map).map_or(0, |map| map.stripes) | whole;
        self.maps.insert(map, Taken { size, held, stripes });
    }

    /// Records that a map was deleted.
    pub(super) fn remove(&mut self, map: Map) {
        self.maps.remove(&map);
    }

    pub(super) fn mark_used(&mut self, stripe: &Stripe) {
        self.maps.entry(stripe.map).and_modify(|map| map.stripes |= stripe.bit());
    }

    pub(super) fn free(&mut self, stripe: &Stripe) {
        self.maps.entry(stripe.map).and_modify(|map| map.stripes &= !stripe.bit());
    }
}

impl Stripe {
    /// Its bit; 0 if the base, read from a foreign rule, is out of range.
    fn bit(&self) -> u128 {
        1u128.checked_shl(self.base / MAX_SLOTS).unwrap_or(0)
    }
}

const _: () = assert!(LISTENERS_PER_MAP == u128::BITS, "a map's stripes are the bits of a word");
