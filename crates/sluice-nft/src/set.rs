//! Sets and maps, and their elements.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::{ChainName, Octets, Operand};

/// A concatenated key: each part zero-padded to four bytes, as in the kernel's registers.
pub type Key = Octets<40>;

impl<const N: usize> Octets<N> {
    /// Appends an address in network order.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => self.with(&a.octets()),
            IpAddr::V6(a) => self.with(&a.octets()),
        }
    }

    /// Appends an IP protocol number.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        self.with(&[number])
    }

    /// Appends a port in network order.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.with(&port.to_be_bytes())
    }

    /// Appends a slot number, in host order as `numgen` and `jhash` leave it.
    #[must_use]
    pub fn slot(self, slot: u32) -> Self {
        self.with(&slot.to_ne_bytes())
    }
}

/// The type of a set's data: `typeof KEY` or `typeof KEY : DATA`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetType {
    /// A plain set.
    Set,
    /// A map to concatenated values.
    Map(Vec<Operand>),
    /// A map to verdicts.
    Verdicts,
}

/// The flags of a set (nft's `interval` and `dynamic`): whether commits or rules add its elements, and their
/// form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetFlags {
    /// Keys that commits add.
    #[default]
    Static,
    /// Ranges of the last part of the key, which commits add: see [`Data::KeyEnd`].
    Interval,
    /// Keys that rules add as packets pass. Tables that are read or rendered never contain them.
    Dynamic {
        /// Seconds until an element expires unless a packet updates it; `None`: elements expire with their limit.
        timeout: Option<u32>,
    },
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Parts of the key.
    pub key: Vec<Operand>,
    /// Type of the data.
    pub data: SetType,
    /// Maximum number of elements. With a size the kernel uses a hash table of fixed size, which is faster to
    /// fill and to read than one that grows.
    pub size: Option<u32>,
    /// Whether each element counts its hits.
    pub counter: bool,
    /// Its flags.
    pub flags: SetFlags,
    /// Elements in key order.
    pub elements: BTreeMap<Key, Element>,
}

impl Set {
    /// An empty plain set.
    pub fn plain(key: Vec<Operand>) -> Self {
        let flags = SetFlags::Static;
        Set { key, data: SetType::Set, size: None, counter: false, flags, elements: BTreeMap::new() }
    }

    /// An empty map to verdicts.
    pub fn verdicts(key: Vec<Operand>) -> Self {
        Set { data: SetType::Verdicts, ..Set::plain(key) }
    }

    /// An empty map to values with a counter per element.
    pub fn counted_map(key: Vec<Operand>, data: Vec<Operand>) -> Self {
        Set { data: SetType::Map(data), counter: true, ..Set::plain(key) }
    }

    /// An empty plain set with a counter per element.
    pub fn counted(key: Vec<Operand>) -> Self {
        Set { counter: true, ..Set::plain(key) }
    }

    /// An empty set whose elements are intervals of the last part of the key.
    pub fn interval(key: Vec<Operand>) -> Self {
        Set { flags: SetFlags::Interval, ..Set::plain(key) }
    }

    /// An empty set of bounded size that rules fill.
    pub fn dynamic(key: Vec<Operand>, size: u32, timeout: Option<u32>) -> Self {
        Set { flags: SetFlags::Dynamic { timeout }, size: Some(size), ..Set::plain(key) }
    }

    /// Whether rules fill it.
    pub fn is_dynamic(&self) -> bool {
        matches!(self.flags, SetFlags::Dynamic { .. })
    }

    /// The element that a lookup of a key finds. If a range lies within
    /// another one, which the kernel allows if the inner one was added first, this is the inner one.
    pub fn find(&self, key: &Key) -> Option<(&Key, &Element)> {
        if self.flags != SetFlags::Interval {
            return self.elements.get_key_value(key);
        }
        let key_bytes = key.as_slice();
        let (fixed, value) = key_bytes.split_at(key_bytes.len().saturating_sub(self.range_width()));
        let same_fixed = |held: &Key| held.as_slice().starts_with(fixed);
        let before = self.elements.range(..=*key).rev().take_while(|(held, _)| same_fixed(held));
        before.into_iter().find(|(held, element)| match &element.data {
            Data::KeyEnd(last) => value <= last.as_slice(),
            _ => *held == key,
        })
    }

    /// Padded width of the last part of the key, of which the elements of a set of ranges hold ranges.
    fn range_width(&self) -> usize {
        self.key.last().map_or(0, |part| part.width().next_multiple_of(4))
    }

    /// The last key in the range of an element; its own key if it is not a range.
    pub fn last_key(&self, key: &Key, data: &Data) -> Key {
        let Data::KeyEnd(last) = data else { return *key };
        let bytes = key.as_slice();
        let fixed = &bytes[..bytes.len().saturating_sub(last.as_slice().len())];
        Key::new(&[fixed, last.as_slice()].concat()).unwrap_or(*key)
    }

    /// The same set with another size.
    #[must_use]
    pub fn sized(self, size: u32) -> Self {
        Set { size: Some(size), ..self }
    }

    /// Whether both have the same declaration; elements are ignored.
    pub fn same_declaration(&self, other: &Set) -> bool {
        self.key == other.key
            && self.data == other.data
            && self.size == other.size
            && self.counter == other.counter
            && self.flags == other.flags
    }

    /// `map` or `set`, nft's keyword.
    pub fn keyword(&self) -> &'static str {
        match self.data {
            SetType::Set => "set",
            SetType::Map(_) | SetType::Verdicts => "map",
        }
    }

    /// Writes the properties of the declaration, each preceded by `before` and followed by `after`.
    pub(crate) fn write_declaration(
        &self,
        f: &mut fmt::Formatter<'_>,
        before: &str,
        after: &str,
    ) -> fmt::Result {
        write!(f, "{before}typeof {}", concatenation(&self.key))?;
        match &self.data {
            SetType::Set => {}
            SetType::Map(data) => write!(f, " : {}", concatenation(data))?,
            SetType::Verdicts => f.write_str(" : verdict")?,
        }
        f.write_str(after)?;
        if let Some(size) = self.size {
            write!(f, "{before}size {size}{after}")?;
        }
        match self.flags {
            SetFlags::Static => {}
            SetFlags::Interval => write!(f, "{before}flags interval{after}")?,
            SetFlags::Dynamic { timeout: None } => write!(f, "{before}flags dynamic{after}")?,
            SetFlags::Dynamic { timeout: Some(seconds) } => {
                write!(
                    f,
                    "{before}flags dynamic,timeout{after}{before}timeout {}{after}",
                    duration(seconds)
                )?;
            }
        }
        if self.counter { write!(f, "{before}counter{after}") } else { Ok(()) }
    }

    /// The declaration on one line: `{ typeof ip daddr : verdict; }`.
    pub(crate) fn declaration(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| {
            f.write_str("{")?;
            self.write_declaration(f, " ", ";")?;
            f.write_str(" }")
        })
    }

    /// A key for sorting elements by value: slot numbers, which the kernel stores in host byte order, are
    /// converted to network order.
    pub fn sort_key(&self, key: &Key) -> Key {
        let mut rest = key.as_slice();
        let mut sorted = Key::EMPTY;
        for part in &self.key {
            let (value, tail) = rest.split_at(part.width().next_multiple_of(4).min(rest.len()));
            sorted = match (part, value.try_into()) {
                (Operand::Slot(_), Ok(slot)) => sorted.with(&u32::from_ne_bytes(slot).to_be_bytes()),
                _ => sorted.with(value),
            };
            rest = tail;
        }
        sorted
    }

    /// Prints one element of this set as nft does, without its counter.
    pub fn element<'a>(&'a self, key: &'a Key, data: &'a Data) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write_value(f, &self.key, key.as_slice())?;
            match (data, &self.data) {
                (Data::None, _) => Ok(()),
                (Data::Goto(chain), _) => write!(f, " : goto {chain}"),
                (Data::KeyEnd(last), _) => write_end(f, &self.key, key, last.as_slice()),
                (Data::Value(value), SetType::Map(parts)) => {
                    f.write_str(" : ")?;
                    write_value(f, parts, value.as_slice())
                }
                (Data::Value(value), _) => write!(f, " : {value:?}"),
            }
        })
    }
}

/// The data of one element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// Nothing: the element of a plain set.
    None,
    /// Concatenated values, padded like a key.
    Value(Octets<20>),
    /// `goto CHAIN`.
    Goto(ChainName),
    /// A range of a plain set: its last value. The first one is the last part of the element's key, of the same width.
    KeyEnd(Octets<16>),
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its data.
    pub data: Data,
}

/// A duration in nft syntax: `1h30m`.
pub(crate) fn duration(seconds: u32) -> String {
    let parts =
        [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    match seconds {
        0 => "0s".to_owned(),
        _ => parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect(),
    }
}

/// The end of a range in nft syntax: `/PREFIX-LENGTH` or `-LAST`.
fn write_end(f: &mut fmt::Formatter<'_>, parts: &[Operand], key: &Key, last: &[u8]) -> fmt::Result {
    let first = &key.as_slice()[key.as_slice().len() - last.len()..];
    let same = first.iter().zip(last).map(|(a, b)| (a ^ b).leading_zeros()).take_while(|n| *n == 8).count();
    let bits = match first.get(same).zip(last.get(same)) {
        None => return Ok(()),
        Some((a, b)) => 8 * same as u32 + (a ^ b).leading_zeros(),
    };
    let is_prefix = (0..).zip(first.iter().zip(last)).all(|(n, (a, b))| {
        let host = 0xff_u8.checked_shr(bits.saturating_sub(8 * n)).unwrap_or(0);
        a & host == 0 && b & host == host
    });
    match parts.last() {
        Some(part) if !is_prefix => {
            f.write_str("-")?;
            part.write_value(f, last)
        }
        _ => write!(f, "/{bits}"),
    }
}

fn concatenation(parts: &[Operand]) -> String {
    parts.iter().map(Operand::to_string).collect::<Vec<_>>().join(" . ")
}

fn write_value(f: &mut fmt::Formatter<'_>, parts: &[Operand], mut value: &[u8]) -> fmt::Result {
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            f.write_str(" . ")?;
        }
        let (field, rest) = value.split_at(part.width().min(value.len()));
        part.write_value(f, field)?;
        let padding = part.width().next_multiple_of(4) - part.width();
        value = &rest[padding.min(rest.len())..];
    }
    Ok(())
}
