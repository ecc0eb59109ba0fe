//! Where the slots of listeners that do not share lie.
//!
//! Such a listener has a stripe of 65,536 slot numbers in a map of fixed size that at most 128 listeners
//! share: binding a rule to a map makes the kernel walk the map's elements, and adding an element the rules, so
//! maps stay small; every map makes all lookups of sets by name slower, so they stay few.

use std::collections::BTreeMap;

use sluice_nft::{ChainName, Ip, Operand, Rule, SetName, Statement, Table};

use super::names;
use crate::slots::MAX_SLOTS;

/// Listeners that share a map.
const LISTENERS_PER_MAP: u32 = 128;

/// Size of a map, unless its first listener needs a larger one.
const MAP_SIZE: u32 = 1024;

/// What a private map holds for a slot; see [`super::pick`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Form {
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
pub(super) struct Place {
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
    places: BTreeMap<ChainName, (Place, u32)>,
    /// Size and number of elements by set.
    sets: BTreeMap<SetName, (Option<u32>, u32)>,
}

impl Layout {
    /// The layout of a table, empty for none.
    pub fn of(table: Option<&Table>) -> Self {
        let Some(table) = table else { return Layout::default() };
        let sets: BTreeMap<_, _> = table
            .sets
            .iter()
            .map(|(name, set)| (name.clone(), (set.size, set.elements.len() as u32)))
            .collect();
        let private = table.chains.iter().filter(|(name, _)| name.as_str().starts_with(names::PRIVATE));
        let place = |rule: &Rule| place_of(&rule.0, &sets);
        let places =
            private.filter_map(|(name, chain)| Some((name.clone(), place(chain.rules.first()?)?))).collect();
        Layout { places, sets }
    }

    /// The place of a chain, if it has `slots` slots in a map of this form.
    pub(super) fn keep(&self, chain: &ChainName, form: Form, ip: Ip, slots: u32) -> Option<Place> {
        let (place, count) = self.places.get(chain)?;
        let (prefix, _) = numbered(&place.map)?;
        (*count == slots && prefix == self::prefix(form, ip)).then(|| place.clone())
    }

    /// Whether there is a set of this name.
    pub(super) fn holds(&self, set: &SetName) -> bool {
        self.sets.contains_key(set)
    }

    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        for (name, (size, count)) in &self.sets {
            if let (Some((prefix, number)), Some(size)) = (numbered(name), size) {
                let taken = if prefix.starts_with(Form::Ports.word()) { u128::MAX } else { 0 };
                let map = Map { size: *size, held: *count, taken };
                places.0.entry(prefix.to_owned()).or_default().maps.insert(number, map);
            }
        }
        let mut led_to = BTreeMap::<&SetName, u32>::new();
        for (Place { map: name, base, .. }, slots) in self.places.values() {
            if let Some((prefix, number)) = numbered(name)
                && let Some(maps) = places.0.get_mut(prefix)
                && let Some(map) = maps.maps.get_mut(&number)
            {
                map.taken |= 1u128.checked_shl(base / MAX_SLOTS).unwrap_or(0);
                // Somebody may have deleted elements that will be added again.
                let led_to = led_to.entry(name).or_default();
                *led_to += slots;
                map.held = map.held.max(*led_to);
            }
        }
        places
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
            Operand::Field(_) => None,
        },
        _ => None,
    })
}

/// `slots4`, the prefix of the maps of one form and IP version.
fn prefix(form: Form, ip: Ip) -> String {
    format!("{}{}", form.word(), ip.digit())
}

/// Which stripes are taken, by prefix.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, Maps>);

#[derive(Default)]
struct Maps {
    maps: BTreeMap<u32, Map>,
    /// The map that had room last; those before it are not asked again.
    next: u32,
}

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
}

const _: () = assert!(LISTENERS_PER_MAP == u128::BITS, "a map's stripes are the bits of a word");
