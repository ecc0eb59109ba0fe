//! Encodes and decodes `NFT_MSG_NEWSET`.

use std::collections::BTreeMap;

use nftnl::nftnl_sys::libc::{NFT_MSG_NEWSET, NLM_F_CREATE, NLM_F_EXCL};
use sluice_nft::{Operand, Set, SetFlags, SetName, SetType};

use super::typing;
use crate::attr::{Attributes, Write};
use crate::message;
use crate::uapi;
use crate::uapi::set as attribute;

/// Types of the user data of a set (`NFTNL_UDATA_SET_*`).
mod userdata {
    pub(super) const KEY_BYTEORDER: u8 = 0;
    pub(super) const DATA_BYTEORDER: u8 = 1;
    pub(super) const KEY_TYPE: u8 = 3;
    pub(super) const DATA_TYPE: u8 = 4;
    pub(super) const DATA_INTERVAL: u8 = 6;
}

const COUNTER: &str = "counter";

/// The message that declares a set. `id` must be unique in the batch.
pub(crate) fn encode(table: &str, name: &SetName, set: &Set, id: u32) -> Vec<u8> {
    let mut message = message::start(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    message.put_text(attribute::TABLE, table);
    message.put_text(attribute::NAME, name.as_str());
    message.put_u32(attribute::FLAGS, flags(set));
    message.put_u32(attribute::KEY_TYPE, typing::datatype(&set.key));
    message.put_u32(attribute::KEY_LEN, typing::length(&set.key) as u32);
    if let Some((datatype, length)) = data_type(&set.data) {
        message.put_u32(attribute::DATA_TYPE, datatype);
        message.put_u32(attribute::DATA_LEN, length as u32);
    }
    let is_ranges = set.flags == SetFlags::Interval;
    if set.size.is_some() || is_ranges {
        message.nest(attribute::DESC, |desc| {
            set.size.iter().for_each(|size| desc.put_u32(attribute::DESC_SIZE, *size));
            if is_ranges {
                desc.nest(attribute::DESC_CONCAT, |parts| {
                    for part in &set.key {
                        parts.nest(uapi::LIST_ELEM, |field| {
                            field.put_u32(attribute::FIELD_LENGTH, part.width() as u32);
                        });
                    }
                });
            }
        });
    }
    if let SetFlags::Dynamic { timeout: Some(seconds) } = set.flags {
        message.put(attribute::TIMEOUT, &(u64::from(seconds) * 1000).to_be_bytes());
    }
    message.put_u32(attribute::ID, id);
    message.put(attribute::USERDATA, &userdata(set));
    if set.counter {
        message.nest(attribute::EXPR, |expr| {
            expr.put_text(uapi::expr::NAME, COUNTER);
            expr.nest(uapi::expr::DATA, |_| {});
        });
    }
    message::finish(message)
}

fn flags(set: &Set) -> u32 {
    let flags = match set.flags {
        SetFlags::Static => 0,
        SetFlags::Interval => attribute::INTERVAL | attribute::CONCATENATED,
        SetFlags::Dynamic { timeout: None } => attribute::EVAL,
        SetFlags::Dynamic { timeout: Some(_) } => attribute::EVAL | attribute::TIMEOUTS,
    };
    if set.data == SetType::Set { flags } else { flags | attribute::MAP }
}

fn data_type(data: &SetType) -> Option<(u32, usize)> {
    match data {
        SetType::Set => None,
        SetType::Map(parts) => Some((typing::datatype(parts), typing::length(parts))),
        SetType::Verdicts => Some((uapi::data::TYPE_VERDICT, 0)),
    }
}

fn userdata(set: &Set) -> Vec<u8> {
    let key = [
        typing::number(userdata::KEY_BYTEORDER, typing::byteorder(&set.key)),
        typing::item(userdata::KEY_TYPE, &typing::encode(&set.key)),
    ];
    let (byteorder, data) = match &set.data {
        SetType::Set => return key.concat(),
        SetType::Map(parts) => (typing::byteorder(parts), typing::encode(parts)),
        SetType::Verdicts => (typing::byteorder(&[]), typing::encode_verdict()),
    };
    let [key_byteorder, key] = key;
    [
        key_byteorder,
        typing::number(userdata::DATA_BYTEORDER, byteorder),
        key,
        typing::item(userdata::DATA_TYPE, &data),
        typing::number(userdata::DATA_INTERVAL, 0),
    ]
    .concat()
}

/// Name and declaration of the set in an `NFT_MSG_NEWSET` message; `None` for an anonymous set of a rule.
///
/// A declaration that sluice never writes becomes a plain set with an empty key: it equals no set that sluice
/// renders, and its elements are not decoded.
pub(crate) fn decode(attributes: Attributes<'_>) -> Option<(SetName, Set)> {
    let name = SetName::from(attributes.text(attribute::NAME)?);
    let flags = attributes.u32(attribute::FLAGS).unwrap_or(0);
    let anonymous = flags & attribute::ANONYMOUS != 0;
    (!anonymous).then(|| (name, ours(attributes, flags).unwrap_or_else(|| Set::plain(vec![]))))
}

fn ours(attributes: Attributes<'_>, flags: u32) -> Option<Set> {
    let set = |kind| attributes.find(kind).is_some_and(|value| value.value.iter().any(|byte| *byte != 0));
    let desc = attributes.nested(attribute::DESC).unwrap_or(Attributes::new(&[]));
    if [attribute::POLICY, attribute::GC_INTERVAL, attribute::EXPRESSIONS].into_iter().any(set) {
        return None;
    }
    let timeout = attributes.find(attribute::TIMEOUT).and_then(|timeout| timeout.u64()).unwrap_or(0);
    let timeout = (timeout > 0 && timeout.is_multiple_of(1000)).then_some(timeout / 1000);
    let userdata = attributes.bytes(attribute::USERDATA)?;
    let parts = |kind| typing::decode(typing::find(userdata, kind)?);
    let key = parts(userdata::KEY_TYPE)?;
    let data = match attributes.u32(attribute::DATA_TYPE) {
        _ if flags & attribute::MAP == 0 => SetType::Set,
        Some(uapi::data::TYPE_VERDICT) => SetType::Verdicts,
        _ => SetType::Map(parts(userdata::DATA_TYPE)?),
    };
    let counter = match attributes.nested(attribute::EXPR).map(|expr| expr.text(uapi::expr::NAME)) {
        None => false,
        Some(Some(COUNTER)) => true,
        Some(_) => return None,
    };
    let size = desc.u32(attribute::DESC_SIZE);
    let set_flags = if desc.find(attribute::DESC_CONCAT).is_some() {
        SetFlags::Interval
    } else if flags & attribute::EVAL != 0 {
        SetFlags::Dynamic { timeout: timeout.and_then(|seconds| u32::try_from(seconds).ok()) }
    } else {
        SetFlags::Static
    };
    let set = Set { key, data, size, counter, flags: set_flags, elements: BTreeMap::new() };
    (agrees(attributes, &set) && self::flags(&set) == flags).then_some(set)
}

/// Whether the kernel's types agree with the user data, which the kernel does not check.
fn agrees(attributes: Attributes<'_>, set: &Set) -> bool {
    let has = |parts: &[Operand], datatype, length| {
        attributes.u32(datatype) == Some(typing::datatype(parts))
            && attributes.u32(length) == Some(typing::length(parts) as u32)
    };
    has(&set.key, attribute::KEY_TYPE, attribute::KEY_LEN)
        && match &set.data {
            SetType::Map(parts) => has(parts, attribute::DATA_TYPE, attribute::DATA_LEN),
            SetType::Set | SetType::Verdicts => true,
        }
}
