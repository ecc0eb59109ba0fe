//! Messages with elements of sets.

use std::collections::HashMap;
use std::ffi::c_int;

use nftnl::nftnl_sys::libc::{
    NFNL_SUBSYS_NFTABLES, NFT_MSG_DELSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM, NLM_F_ACK,
    NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL,
};
use sluice_nft::{ChainName, Counter, Data, Key, Octets, Operand, Set, SetFlags, SetName, SetType};

use crate::attr::{Attribute, Attributes, Write};
use crate::message;
use crate::target::Target;
use crate::uapi::element as attribute;
use crate::uapi::{LIST_ELEM, data, expr};

/// Maximum size of a message in bytes: the list of elements is one attribute, and the length of an attribute has 16 bits.
pub(crate) const MESSAGE_SIZE: usize = 60_000;

/// Whether elements are added or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Adds; an existing key is an error.
    Add,
    /// Deletes; only the key matters.
    Delete {
        /// Whether the kernel must report each deleted element.
        echo: bool,
    },
}

impl Verb {
    fn message(self) -> (c_int, c_int) {
        match self {
            Verb::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL),
            Verb::Delete { echo } => (NFT_MSG_DELSETELEM, if echo { NLM_F_ECHO } else { 0 }),
        }
    }
}

/// A message with as many elements as fit, and their number.
pub(crate) fn encode<'a>(
    table: &str,
    verb: Verb,
    name: &SetName,
    set: &Set,
    elements: impl Iterator<Item = &'a (Key, Data)>,
) -> (Vec<u8>, usize) {
    let (kind, flags) = verb.message();
    let widths = Widths::of(set);
    let mut count = 0;
    let mut message = message::start(kind, flags);
    message.put_text(attribute::TABLE, table);
    message.put_text(attribute::SET, name.as_str());
    message.nest(attribute::ELEMENTS, |list| {
        for (key, data) in elements {
            let before = list.len();
            list.nest(LIST_ELEM, |element| {
                encode_key(element, key, widths.key);
                if let Data::KeyEnd(last) = data {
                    let end = &key.as_slice()[..key.as_slice().len() - last.as_slice().len()];
                    let end = [end, last.as_slice()].concat();
                    element.nest(attribute::KEY_END, |value| value.put(data::VALUE, &end));
                }
                if verb == Verb::Add {
                    encode_data(element, data, widths.data);
                }
            });
            if list.len() > MESSAGE_SIZE && count > 0 {
                list.truncate(before);
                break;
            }
            count += 1;
        }
    });
    (message::finish(message), count)
}

/// The request for the elements with these keys.
pub(crate) fn question(table: &str, name: &SetName, set: &Set, keys: &[Key]) -> Vec<u8> {
    let width = Widths::of(set).key;
    let mut message = message::start(NFT_MSG_GETSETELEM, NLM_F_ACK);
    message.put_text(attribute::TABLE, table);
    message.put_text(attribute::SET, name.as_str());
    message.nest(attribute::ELEMENTS, |list| {
        for key in keys {
            list.nest(LIST_ELEM, |element| encode_key(element, key, width));
        }
    });
    message
}

/// Widths of key and data in messages: our octets are always padded, but a key or data of one part is not padded in the
/// kernel.
struct Widths {
    key: usize,
    data: usize,
}

impl Widths {
    fn of(set: &Set) -> Self {
        let width = |parts: &[Operand]| match parts {
            [part] => part.width(),
            _ => usize::MAX,
        };
        Widths {
            key: width(&set.key),
            data: match &set.data {
                SetType::Map(parts) => width(parts),
                SetType::Set | SetType::Verdicts => usize::MAX,
            },
        }
    }
}

fn encode_key(element: &mut Vec<u8>, key: &Key, width: usize) {
    match key.as_slice() {
        [] => element.put_u32(attribute::FLAGS, attribute::CATCHALL),
        key => element.nest(attribute::KEY, |value| value.put(data::VALUE, &key[..key.len().min(width)])),
    }
}

fn encode_data(element: &mut Vec<u8>, held: &Data, width: usize) {
    match held {
        Data::None | Data::KeyEnd(_) => {}
        Data::Value(octets) => element.nest(attribute::DATA, |value| {
            let octets = octets.as_slice();
            value.put(data::VALUE, &octets[..octets.len().min(width)]);
        }),
        Data::Goto(chain) => element.nest(attribute::DATA, |value| {
            value.nest(data::VERDICT, |verdict| {
                verdict.put_u32(data::VERDICT_CODE, data::GOTO);
                verdict.put_text(data::VERDICT_CHAIN, chain.as_str());
            });
        }),
    }
}

/// Index of the element of an `NFT_MSG_NEWSETELEM` at this offset from the start of the message.
pub(crate) fn at_offset(message: &[u8], offset: usize) -> Option<usize> {
    let list = message::attributes(message).bytes(attribute::ELEMENTS)?;
    let start = message.len() - list.len();
    let mut end = start;
    (offset >= start).then_some(())?;
    Attributes::new(list).position(|element| {
        end += 4 + element.value.len().next_multiple_of(4);
        offset < end
    })
}

/// A decoded element.
pub(crate) type Decoded = (Key, Data, Option<Counter>);

/// Decodes the elements in an `NFT_MSG_NEWSETELEM` message for a set with a declaration that sluice writes.
///
/// Elements that sluice never writes become elements that it never renders: a verdict other than `goto` becomes
/// [`Data::None`], and the catch-all element has an empty key.
pub(crate) fn decode(
    attributes: Attributes<'_>,
    set: &Set,
    chains: &HashMap<&str, ChainName>,
    mut take: impl FnMut(Decoded),
) {
    for (key, element) in list(attributes) {
        let data = match set.flags {
            SetFlags::Interval => decode_end(&key, element, set),
            _ => element.nested(attribute::DATA).map_or(Data::None, |data| decode_data(data, set, chains)),
        };
        take((key, data, set.counter.then(|| decode_counter(element)).flatten()));
    }
}

/// The counters in such a message, for elements of any set.
pub(crate) fn counts(attributes: Attributes<'_>, counters: &mut Vec<(Key, Counter)>) {
    counters.extend(list(attributes).filter_map(|(key, element)| Some((key, decode_counter(element)?))));
}

/// The counters of deleted elements in an event about our table, and the name of their set.
pub(crate) fn deleted<'a>(event: &'a [u8], counters: &mut Vec<(Key, Counter)>) -> Option<&'a str> {
    let attributes = message::attributes(event);
    let ours = message::kind(event) == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM
        && attributes.text(attribute::TABLE) == Some(Target::SLUICE.name);
    ours.then(|| counts(attributes, counters));
    ours.then(|| attributes.text(attribute::SET)).flatten()
}

/// The keys and attributes of elements.
fn list(attributes: Attributes<'_>) -> impl Iterator<Item = (Key, Attributes<'_>)> {
    let elements = attributes.nested(attribute::ELEMENTS).unwrap_or(Attributes::new(&[]));
    elements.map(Attribute::nested).filter_map(|element| {
        let key = element.nested(attribute::KEY).and_then(|key| key.bytes(data::VALUE));
        Some((padded(key.unwrap_or_default())?, element))
    })
}

/// The end of a range. `Data::None` if the range covers more than the last part of the key, or its end has another length.
fn decode_end(key: &Key, element: Attributes<'_>, set: &Set) -> Data {
    let end =
        element.nested(attribute::KEY_END).and_then(|end| padded(end.bytes(data::VALUE)?)).unwrap_or(*key);
    let width = set.key.last().map_or(0, Operand::width).next_multiple_of(4);
    let (key, end) = (key.as_slice(), end.as_slice());
    match key.len().checked_sub(width).filter(|_| key.len() == end.len()) {
        Some(split) if key[..split] == end[..split] => {
            Octets::new(&end[split..]).map_or(Data::None, Data::KeyEnd)
        }
        _ => Data::None,
    }
}

fn decode_data(value: Attributes<'_>, set: &Set, chains: &HashMap<&str, ChainName>) -> Data {
    match set.data {
        SetType::Set => Data::None,
        SetType::Map(_) => value.bytes(data::VALUE).and_then(padded).map_or(Data::None, Data::Value),
        SetType::Verdicts => {
            let verdict = value.nested(data::VERDICT).unwrap_or(Attributes::new(&[]));
            match (verdict.u32(data::VERDICT_CODE), verdict.text(data::VERDICT_CHAIN)) {
                (Some(data::GOTO), Some(chain)) => {
                    Data::Goto(chains.get(chain).cloned().unwrap_or_else(|| chain.into()))
                }
                _ => Data::None,
            }
        }
    }
}

/// Pads a value; the kernel does not pad single values.
fn padded<const N: usize>(bytes: &[u8]) -> Option<Octets<N>> {
    (bytes.len().next_multiple_of(4) <= N).then(|| Octets::EMPTY.with(bytes))
}

fn decode_counter(element: Attributes<'_>) -> Option<Counter> {
    let counter = element.nested(attribute::EXPR)?.nested(expr::DATA)?;
    let value = |kind| counter.find(kind)?.u64();
    Some(Counter { packets: value(expr::COUNTER_PACKETS)?, bytes: value(expr::COUNTER_BYTES)? })
}

#[cfg(test)]
mod tests {
    use sluice_nft::{Field, Ip};

    use super::*;

    #[test]
    fn range_that_ends_at_another_length_than_it_begins_is_none_of_ours() {
        let address = || Operand::Field(Field::Saddr(Ip::V4));
        let set = Set::interval(vec![Operand::Field(Field::L4proto), address()]);
        let read = |first: &[u8], last: &[u8]| {
            let mut message = message::start(NFT_MSG_NEWSETELEM, 0);
            message.nest(attribute::ELEMENTS, |list| {
                list.nest(LIST_ELEM, |element| {
                    element.nest(attribute::KEY, |value| value.put(data::VALUE, first));
                    element.nest(attribute::KEY_END, |value| value.put(data::VALUE, last));
                });
            });
            let mut data = None;
            let attributes = message::attributes(&message);
            decode(attributes, &set, &HashMap::new(), |(key, held, _)| {
                // Must not panic.
                let _ = set.element(&key, &held).to_string();
                data = Some(held);
            });
            data.expect("an element")
        };
        let (first, last) = ([6, 0, 0, 0, 10, 0, 0, 0], [6, 0, 0, 0, 10, 0, 0, 255]);
        assert_eq!(read(&first, &last), Data::KeyEnd(Octets::new(&[10, 0, 0, 255]).expect("it fits")));
        for (first, last) in
            [(&first[..0], &last[..]), (&first[..4], &last), (&first, &last[..4]), (&first[..0], &[])]
        {
            assert_eq!(read(first, last), Data::None, "{first:?} {last:?}");
        }
    }
}
