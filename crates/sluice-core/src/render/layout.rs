//! Where the slots of listeners that do not share lie.
//!
//! Such a listener has a stripe of 65,536 slot numbers in a map of fixed size that at most 128 listeners
//! share: binding a rule to a map makes the kernel walk the map's elements, and adding an element the rules, so
//! maps stay small; every map makes all lookups of sets by name slower, so they stay few.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_nft::{Chain, ChainName, Ip, Operand, Set, SetName, Statement, Table};

use super::{affinity, names};
use crate::slots::MAX_SLOTS;

/// Listeners that share a map.
const LISTENERS_PER_MAP: u32 = 128;

/// Size of a map, unless its first listener needs a larger one.
const MAP_SIZE: u32 = 1024;

/// What a private map holds for a slot; see [`super::pick`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Form {
    /// Address and port.
    Slots,
    /// Address; the port stays.
    Addresses,
    /// Address and port, looked up by the client's port as well. Such a map has one listener.
    Ports,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Form::Slots => "slots",
            Form::Addresses => "addresses",
            Form::Ports => "ports",
        }
    }
}

/// Stripe of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) map: SetName,
    /// First slot number.
    pub(super) base: u32,
    /// Size of the map.
    pub(super) size: u32,
}

/// Stripes in use in the kernel, read back from the rules themselves, and the sets there are.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Place and number of slots by pick chain.
    chains: BTreeMap<ChainName, (Place, u32)>,
    /// Size and number of elements by set.
    sets: BTreeMap<SetName, (Option<u32>, u32)>,
    /// Stripes by map, which follows from both.
    places: Places,
    /// Numbers of affinity groups by address, protocol and port of their listeners.
    groups: BTreeMap<(IpAddr, u8, u16), u32>,
}

impl Layout {
    /// The layout of a table, empty for none.
    pub fn of(table: Option<&Table>) -> Self {
        let mut layout = Layout::default();
        let Some(table) = table else { return layout };
        for (name, set) in &table.sets {
            layout.put_set(name, set);
        }
        for (name, chain) in &table.chains {
            layout.put_chain(name, chain);
        }
        if affinity::maps(table).next().is_some() {
            layout.groups = affinity::groups(table).collect();
        }
        let mut led_to = BTreeMap::<&SetName, u32>::new();
        for (Place { map: name, .. }, slots) in layout.chains.values() {
            *led_to.entry(name).or_default() += slots;
        }
        // Somebody may have deleted elements that will be added again.
        for (name, slots) in led_to {
            layout.places.map(name).into_iter().for_each(|map| map.held = map.held.max(slots));
        }
        layout
    }

    /// Follows a change of the table: what was held of these chains and sets makes way for what is there now. Affinity
    /// groups stay: listeners with affinity come and go with the whole table only.
    pub(crate) fn follow(&mut self, before: &Table, table: &Table, after: &Table) {
        for name in before.chains.keys() {
            if let Some((place, _)) = self.chains.remove(name) {
                self.places.free(&place);
            }
        }
        for name in before.sets.keys().chain(after.sets.keys()) {
            match table.sets.get(name) {
                Some(set) => self.put_set(name, set),
                None => {
                    self.sets.remove(name);
                    self.places.remove(name);
                }
            }
        }
        for (name, chain) in &after.chains {
            self.put_chain(name, chain);
        }
    }

    fn put_set(&mut self, name: &SetName, set: &Set) {
        let held = set.elements.len() as u32;
        self.sets.insert(name.clone(), (set.size, held));
        if let Some(size) = set.size {
            self.places.put(name, size, held);
        }
    }

    fn put_chain(&mut self, name: &ChainName, chain: &Chain) {
        for rule in &chain.rules {
            let Some((place, slots)) = place_of(&rule.0, &self.sets) else { continue };
            // Whoever calls the chain otherwise, an older sluice, uses the stripe until it is switched over.
            self.places.take_again(&place);
            if names::is_private(name) {
                self.chains.insert(name.clone(), (place, slots));
            }
        }
    }

    /// The place of a chain, if it has `slots` slots in a map of this form.
    pub(super) fn keep(&self, chain: &ChainName, form: Form, ip: Ip, slots: u32) -> Option<Place> {
        let (place, count) = self.chains.get(chain)?;
        let (prefix, _) = numbered(&place.map)?;
        (*count == slots && prefix == self::prefix(form, ip)).then(|| place.clone())
    }

    /// Number of elements of the set of this name, if there is one.
    pub(super) fn held(&self, set: &SetName) -> Option<u32> {
        self.sets.get(set).map(|(_, held)| *held)
    }

    /// The number of the affinity group that a listener is in.
    pub(crate) fn group(&self, address: IpAddr, protocol: u8, port: u16) -> Option<u32> {
        self.groups.get(&(address, protocol, port)).copied()
    }

    /// Addresses and numbers of all affinity groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.groups.iter().map(|((address, ..), number)| (*address, *number))
    }

    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }
}

/// Prefix and number of a private map: `slots4-3`.
fn numbered(map: &SetName) -> Option<(&str, u32)> {
    let (prefix, number) = map.as_str().rsplit_once('-')?;
    Some((prefix, number.parse().ok()?))
}

fn place_of(rule: &[Statement], sets: &BTreeMap<SetName, (Option<u32>, u32)>) -> Option<(Place, u32)> {
    rule.iter().find_map(|statement| match statement {
        Statement::Dnat { key, map, .. } => match key.last()? {
            Operand::Pick(pick) => {
                let (modulus, base) = pick.range();
                let (size, _) = sets.get(map)?;
                Some((Place { map: map.clone(), base, size: (*size)? }, modulus))
            }
            Operand::Field(_) | Operand::Prefix(..) => None,
        },
        _ => None,
    })
}

/// `slots4`, the prefix of the maps of one form and IP version.
fn prefix(form: Form, ip: Ip) -> String {
    format!("{}{}", form.word(), ip.digit())
}

/// Which stripes are taken, by prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Maps>);

#[derive(Clone, Debug, Default)]
struct Maps {
    maps: BTreeMap<u32, Map>,
    /// The map that had room last; those before it are not asked again.
    next: u32,
}

#[derive(Clone, Debug)]
struct Map {
    size: u32,
    /// Elements in it, and to come.
    held: u32,
    /// A bit per taken stripe.
    taken: u128,
}

impl Places {
    /// Takes the lowest free stripe of a map with room for `elements` more.
    pub(super) fn take(&mut self, form: Form, ip: Ip, elements: u32) -> Place {
        let prefix = prefix(form, ip);
        let Maps { maps, next } = self.0.entry(prefix.clone()).or_default();
        let has_room = |map: &Map| map.taken != u128::MAX && map.size.saturating_sub(map.held) >= elements;
        while maps.get(next).is_some_and(|map| !has_room(map)) {
            *next += 1;
        }
        let size = MAP_SIZE.max(elements.next_power_of_two());
        let map = maps.entry(*next).or_insert(Map { size, held: 0, taken: 0 });
        let stripe = map.taken.trailing_ones();
        map.taken = if form == Form::Ports { u128::MAX } else { map.taken | 1 << stripe };
        map.held += elements;
        Place { map: format!("{prefix}-{next}").into(), base: stripe * MAX_SLOTS, size: map.size }
    }

    fn put(&mut self, name: &SetName, size: u32, held: u32) {
        let Some((prefix, number)) = numbered(name) else { return };
        let whole = if prefix.starts_with(Form::Ports.word()) { u128::MAX } else { 0 };
        let Maps { maps, .. } = self.0.entry(prefix.to_owned()).or_default();
        let taken = maps.get(&number).map_or(0, |map| map.taken) | whole;
        maps.insert(number, Map { size, held, taken });
    }

    fn remove(&mut self, name: &SetName) {
        if let Some((prefix, number)) = numbered(name)
            && let Some(maps) = self.0.get_mut(prefix)
        {
            maps.maps.remove(&number);
        }
    }

    fn take_again(&mut self, place: &Place) {
        self.map(&place.map).into_iter().for_each(|map| map.taken |= place.bit());
    }

    fn free(&mut self, place: &Place) {
        self.map(&place.map).into_iter().for_each(|map| map.taken &= !place.bit());
    }

    fn map(&mut self, name: &SetName) -> Option<&mut Map> {
        let (prefix, number) = numbered(name)?;
        self.0.get_mut(prefix)?.maps.get_mut(&number)
    }
}

impl Place {
    /// Its stripe; none if the base, of a foreign rule, is beyond them.
    fn bit(&self) -> u128 {
        1u128.checked_shl(self.base / MAX_SLOTS).unwrap_or(0)
    }
}

const _: () = assert!(LISTENERS_PER_MAP == u128::BITS, "a map's stripes are the bits of a word");
