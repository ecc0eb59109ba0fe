//! Where the slots of listeners that do not share lie.
//!
//! Such a listener has a stripe of 65,536 slot numbers in a map that at most 64 listeners share:
//! binding a rule to a map makes the kernel walk the map's elements, so maps stay small, and every
//! map makes all lookups of sets by name slower, so they stay few.

use std::collections::BTreeMap;

use sluice_nft::{ChainName, Ip, Operand, SetName, Statement, Table};

use super::names;
use crate::slots::MAX_SLOTS;

/// Listeners that share a map.
const LISTENERS_PER_MAP: u32 = 64;

/// What a private map holds for a slot; see [`super::pick`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Form {
    /// Address and port.
    Slots,
    /// Address; the port stays.
    Addresses,
    /// Address and port, looked up by the client's port as well.
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
}

/// Stripes in use in the kernel, read back from the rules themselves.
#[derive(Clone, Debug, Default)]
pub struct Layout(BTreeMap<ChainName, (Place, u32)>);

impl Layout {
    /// The layout of a table, empty for none.
    pub fn of(table: Option<&Table>) -> Self {
        let chains = table.into_iter().flat_map(|table| &table.chains);
        let private = chains.filter(|(name, _)| name.as_str().starts_with(names::PRIVATE));
        Layout(
            private
                .filter_map(|(name, chain)| Some((name.clone(), place_of(&chain.rules.first()?.0)?)))
                .collect(),
        )
    }

    /// The place of a chain, if it has `slots` slots in a map of this form.
    pub(super) fn keep(&self, chain: &ChainName, prefix: &str, slots: u32) -> Option<Place> {
        let (place, count) = self.0.get(chain)?;
        (*count == slots && place.map.as_str().starts_with(prefix)).then(|| place.clone())
    }

    pub(super) fn places(&self) -> Places {
        let mut places = Places::default();
        for (Place { map, base }, _) in self.0.values() {
            if let Some((prefix, number)) = map.as_str().rsplit_once('-')
                && let Ok(number) = number.parse()
            {
                places.mark(prefix, number, base / MAX_SLOTS);
            }
        }
        places
    }
}

fn place_of(rule: &[Statement]) -> Option<(Place, u32)> {
    rule.iter().find_map(|statement| match statement {
        Statement::Dnat { key, map, .. } => match key.last()? {
            Operand::Pick(pick) => {
                let (modulus, base) = pick.range();
                Some((Place { map: map.clone(), base }, modulus))
            }
            Operand::Field(_) => None,
        },
        _ => None,
    })
}

/// `slots4`, the prefix of the maps of one form and IP version.
pub(super) fn prefix(form: Form, ip: Ip) -> String {
    format!("{}{}", form.word(), ip.digit())
}

/// Which stripes are taken.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, Maps>);

#[derive(Default)]
struct Maps {
    /// A bit per taken stripe, by map number.
    taken: BTreeMap<u32, u64>,
    /// No map before this one has room.
    full_before: u32,
}

impl Places {
    fn mark(&mut self, prefix: &str, number: u32, stripe: u32) {
        let maps = self.0.entry(prefix.to_owned()).or_default();
        *maps.taken.entry(number).or_default() |= 1u64.checked_shl(stripe).unwrap_or(0);
    }

    /// Takes the lowest free stripe.
    pub(super) fn take(&mut self, prefix: &str) -> Place {
        let maps = self.0.entry(prefix.to_owned()).or_default();
        while maps.taken.get(&maps.full_before) == Some(&u64::MAX) {
            maps.full_before += 1;
        }
        let number = maps.full_before;
        let stripe = maps.taken.get(&number).map_or(0, |taken| taken.trailing_ones());
        self.mark(prefix, number, stripe);
        Place { map: format!("{prefix}-{number}").into(), base: stripe * MAX_SLOTS }
    }
}

const _: () = assert!(LISTENERS_PER_MAP == u64::BITS, "a map's stripes are the bits of a word");
