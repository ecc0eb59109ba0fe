//! Where the slots of listeners that do not share lie.
//!
//! Such a listener has a stripe of 65,536 slot numbers in a map of fixed size that at most 128 listeners
//! share: binding a rule to a map makes the kernel walk the map's elements, and adding an element the rules, so
//! maps stay small; every map makes all lookups of sets by name slower, so they stay few.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_nft::{Chain, Ip, Operand, Statement, Table};

use super::affinity;
use super::names::{ChainId, FrontendId, SetId};
use crate::render::slots::MAX_SLOTS;

/// Listeners that share a map.
const LISTENERS_PER_MAP: u32 = 128;

/// Size of a map, unless its first listener needs a larger one.
const MAP_SIZE: u32 = 1024;

/// What a private map holds for a slot; see `pick`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum MapShape {
    /// Address and port.
    Slots,
    /// Address; the port stays.
    Addresses,
    /// Address and port, looked up by the client's port as well. Such a map has one listener.
    Ports,
}

/// Stripe of one listener.
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

/// What is in use in the kernel and has to stay, or to stay unused: read back from the rules themselves.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// By frontend.
    pub(super) stripes: BTreeMap<FrontendId, Stripe>,
    pub(super) stripes_in_use: StripeAllocator,
    pub(super) groups: GroupNumbers,
}

/// Numbers of affinity groups by their listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupNumbers(pub(super) BTreeMap<ListenerKey, u32>);

impl GroupNumbers {
    /// Those of a table.
    pub fn of(table: &Table) -> Self {
        let is_any = super::clients::maps(table).next().is_some();
        GroupNumbers(if is_any { affinity::groups(table).collect() } else { BTreeMap::new() })
    }

    /// The number of the affinity group that a listener is in.
    pub(crate) fn of_listener(&self, listener: ListenerKey) -> Option<u32> {
        self.0.get(&listener).copied()
    }
}

impl Layout {
    /// The layout of a table, empty for none.
    pub fn of(table: Option<&Table>) -> Self {
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
                // Whoever calls the chain otherwise, an older sluice, uses the stripe until it is switched over.
                layout.stripes_in_use.mark_used(&stripe);
                if let Some(ChainId::Pick(frontend)) = ChainId::parse(name) {
                    layout.stripes.insert(frontend, stripe);
                    *led_to.entry(stripe.map).or_default() += stripe.slots;
                }
            }
        }
        // Somebody may have deleted elements that will be added again.
        for (map, slots) in led_to {
            layout.stripes_in_use.map(map).into_iter().for_each(|held| held.held = held.held.max(slots));
        }
        layout.groups = GroupNumbers::of(table);
        layout
    }
}

/// Stripes that rules of a chain look up.
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

/// Which stripes are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StripeAllocator(BTreeMap<(MapShape, Ip), Maps>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Maps {
    maps: BTreeMap<u32, Taken>,
    /// The map that had room last; those before it are not asked again.
    next: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    size: u32,
    /// Elements in it, and to come.
    held: u32,
    /// A bit per taken stripe.
    stripes: u128,
}

impl StripeAllocator {
    /// Takes the lowest free stripe of a map with room for `elements` more.
    pub(super) fn take(&mut self, shape: MapShape, ip: Ip, slots: u32, elements: u32) -> Stripe {
        let Maps { maps, next } = self.0.entry((shape, ip)).or_default();
        let has_room =
            |map: &Taken| map.stripes != u128::MAX && map.size.saturating_sub(map.held) >= elements;
        while maps.get(next).is_some_and(|map| !has_room(map)) {
            *next += 1;
        }
        let size = MAP_SIZE.max(elements.next_power_of_two());
        let map = maps.entry(*next).or_insert(Taken { size, held: 0, stripes: 0 });
        let stripe = map.stripes.trailing_ones();
        map.stripes = if shape == MapShape::Ports { u128::MAX } else { map.stripes | 1 << stripe };
        map.held += elements;
        Stripe { map: Map { shape, ip, number: *next }, base: stripe * MAX_SLOTS, slots, size: map.size }
    }

    /// A map has so many elements now.
    pub(super) fn record(&mut self, map: Map, size: u32, held: u32) {
        let whole = if map.shape == MapShape::Ports { u128::MAX } else { 0 };
        let Maps { maps, .. } = self.0.entry((map.shape, map.ip)).or_default();
        let stripes = maps.get(&map.number).map_or(0, |map| map.stripes) | whole;
        maps.insert(map.number, Taken { size, held, stripes });
    }

    /// A map is gone.
    pub(super) fn remove(&mut self, map: Map) {
        self.0.entry((map.shape, map.ip)).or_default().maps.remove(&map.number);
    }

    pub(super) fn mark_used(&mut self, stripe: &Stripe) {
        self.map(stripe.map).into_iter().for_each(|map| map.stripes |= stripe.bit());
    }

    pub(super) fn free(&mut self, stripe: &Stripe) {
        self.map(stripe.map).into_iter().for_each(|map| map.stripes &= !stripe.bit());
    }

    fn map(&mut self, map: Map) -> Option<&mut Taken> {
        self.0.get_mut(&(map.shape, map.ip))?.maps.get_mut(&map.number)
    }
}

impl Stripe {
    /// Its bit; none if the base, of a foreign rule, is beyond all stripes.
    fn bit(&self) -> u128 {
        1u128.checked_shl(self.base / MAX_SLOTS).unwrap_or(0)
    }
}

const _: () = assert!(LISTENERS_PER_MAP == u128::BITS, "a map's stripes are the bits of a word");
