//! The types of keys and data: numbers for the kernel, and the user data in which nft stores the
//! `typeof` expressions. Without user data nft 1.0.6 prints slots in a form that it cannot read.
//!
//! User data are nested type-length-value triples, with one byte for type and length each.
//! Numbers in them are in host order. The numbers are those of nft's `include/expression.h`,
//! `include/proto.h` and `include/datatype.h`.

use sluice_nft::{Field, Ip, Operand, SlotExpr};

use crate::expr::{Ct, Fib, Meta, Numgen, words};

/// nft's `enum datatypes`, 6 bits each; the type of a concatenation joins those of its parts.
pub(super) fn datatype(parts: &[Operand]) -> u32 {
    parts.iter().fold(0, |id, part| id << 6 | datatype_of(part))
}

/// Width of a value in the set in bytes: parts of a concatenation are padded, a single part is not.
pub(super) fn length(parts: &[Operand]) -> usize {
    match parts {
        [part] => part.width(),
        parts => parts.iter().map(|part| 4 * words(part.width())).sum(),
    }
}

/// nft's `enum byteorder`.
pub(super) fn byteorder(parts: &[Operand]) -> u32 {
    const MIXED: u32 = 0;
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;
    match parts {
        [
            Operand::Field(
                Field::Saddr(_)
                | Field::Daddr(_)
                | Field::Sport
                | Field::Dport
                | Field::CtOriginalDaddr(_)
                | Field::CtOriginalDport,
            ),
        ] => NETWORK,
        [_] => HOST,
        _ => MIXED,
    }
}

fn datatype_of(part: &Operand) -> u32 {
    match part {
        Operand::Field(field) | Operand::Prefix(field, _) => match field {
            Field::Nfproto => 2,
            Field::Saddr(Ip::V4) | Field::Daddr(Ip::V4) | Field::CtOriginalDaddr(Ip::V4) => 7,
            Field::Saddr(Ip::V6) | Field::Daddr(Ip::V6) | Field::CtOriginalDaddr(Ip::V6) => 8,
            Field::L4proto => 12,
            Field::Sport | Field::Dport | Field::CtOriginalDport => 13,
            Field::TcpFlags => 15,
            Field::CtState => 26,
            Field::CtStatus => 28,
            Field::FibDaddrType | Field::FibSaddrType => 38,
            Field::Iifname | Field::Oifname => 41,
        },
        Operand::Slot(_) => 4,
    }
}

/// `enum expr_types`.
mod kind {
    pub(super) const VERDICT: u32 = 1;
    pub(super) const PAYLOAD: u32 = 7;
    pub(super) const META: u32 = 9;
    pub(super) const CT: u32 = 12;
    pub(super) const CONCATENATION: u32 = 13;
    pub(super) const NUMGEN: u32 = 23;
    pub(super) const FIB: u32 = 26;
}

/// Kind and properties of an expression.
const KIND: u8 = 0;
const PROPERTIES: u8 = 1;

/// `enum proto_desc_id` and the number of the header's field.
const PAYLOADS: [(Field, [u32; 2]); 6] = [
    (Field::Sport, [11, 1]),
    (Field::Dport, [11, 2]),
    (Field::Saddr(Ip::V4), [12, 11]),
    (Field::Daddr(Ip::V4), [12, 12]),
    (Field::Saddr(Ip::V6), [13, 8]),
    (Field::Daddr(Ip::V6), [13, 9]),
];

/// Key and direction; a direction of -1 is none.
const CTS: [(Field, [u32; 2]); 5] = [
    (Field::CtState, [Ct::STATE, u32::MAX]),
    (Field::CtStatus, [Ct::STATUS, u32::MAX]),
    (Field::CtOriginalDaddr(Ip::V4), [Ct::DADDR4, 0]),
    (Field::CtOriginalDaddr(Ip::V6), [Ct::DADDR6, 0]),
    (Field::CtOriginalDport, [Ct::DPORT, 0]),
];

const METAS: [(Field, [u32; 1]); 4] = [
    (Field::Iifname, [Meta::IIFNAME]),
    (Field::Oifname, [Meta::OIFNAME]),
    (Field::Nfproto, [Meta::NFPROTO]),
    (Field::L4proto, [Meta::L4PROTO]),
];

/// Result and flags.
const FIBS: [(Field, [u32; 2]); 2] = [
    (Field::FibDaddrType, [Fib::ADDRESS_TYPE, Fib::DADDR]),
    (Field::FibSaddrType, [Fib::ADDRESS_TYPE, Fib::SADDR]),
];

/// The user data of a key or of data.
pub(super) fn encode(parts: &[Operand]) -> Vec<u8> {
    match parts {
        [part] => encode_part(part),
        parts => {
            let list: Vec<u8> = (0..).zip(parts).flat_map(|(n, part)| item(n, &encode_part(part))).collect();
            expression(kind::CONCATENATION, &list)
        }
    }
}

/// The user data of the data of a verdict map.
pub(super) fn encode_verdict() -> Vec<u8> {
    expression(kind::VERDICT, &[])
}

fn encode_part(part: &Operand) -> Vec<u8> {
    let (kind, properties) = match part {
        Operand::Field(field) | Operand::Prefix(field, _) => properties_of(*field),
        Operand::Slot(pick) => {
            let random = match pick {
                SlotExpr::Inc { .. } => Numgen::INCREMENTAL,
                // nft cannot print the type of a hash; for the map it is a number as well.
                SlotExpr::Random { .. } | SlotExpr::Jhash { .. } => Numgen::RANDOM,
            };
            let (modulus, offset) = pick.range();
            (kind::NUMGEN, vec![random, modulus, offset])
        }
    };
    let properties: Vec<u8> = (0..).zip(properties).flat_map(|(n, value)| number(n, value)).collect();
    expression(kind, &properties)
}

fn properties_of(field: Field) -> (u32, Vec<u32>) {
    fn among<const N: usize>(table: &[(Field, [u32; N])], field: Field) -> Option<Vec<u32>> {
        table.iter().find(|(known, _)| *known == field).map(|(_, properties)| properties.to_vec())
    }
    [
        (kind::PAYLOAD, among(&PAYLOADS, field)),
        (kind::CT, among(&CTS, field)),
        (kind::META, among(&METAS, field)),
        (kind::FIB, among(&FIBS, field)),
    ]
    .into_iter()
    .find_map(|(kind, properties)| Some((kind, properties?)))
    .expect("every field is in one of the tables")
}

fn expression(kind: u32, properties: &[u8]) -> Vec<u8> {
    [number(KIND, kind), item(PROPERTIES, properties)].concat()
}

/// One triple.
pub(super) fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("types of at most 40 bytes take less than 256");
    [&[kind, length], value].concat()
}

/// One triple with a number.
pub(super) fn number(kind: u8, value: u32) -> Vec<u8> {
    item(kind, &value.to_ne_bytes())
}

/// The parts of a key or of data; `None` if sluice does not write one of them.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Operand>> {
    match expression_in(bytes)? {
        (kind::CONCATENATION, list) => Items(list).map(|(_, part)| decode_part(part)).collect(),
        _ => Some(vec![decode_part(bytes)?]),
    }
}

fn decode_part(bytes: &[u8]) -> Option<Operand> {
    let (kind, properties) = expression_in(bytes)?;
    let properties: Vec<u32> = Items(properties).map(|(_, value)| as_number(value)).collect::<Option<_>>()?;
    fn among<const N: usize>(table: &[(Field, [u32; N])], properties: &[u32]) -> Option<Operand> {
        let (field, _) = table.iter().find(|(_, known)| known == properties)?;
        Some(Operand::Field(*field))
    }
    match (kind, properties.as_slice()) {
        (kind::PAYLOAD, properties) => among(&PAYLOADS, properties),
        (kind::CT, properties) => among(&CTS, properties),
        (kind::META, properties) => among(&METAS, properties),
        (kind::FIB, properties) => among(&FIBS, properties),
        (kind::NUMGEN, &[Numgen::INCREMENTAL, modulus, offset]) => {
            Some(Operand::Slot(SlotExpr::Inc { modulus, offset }))
        }
        (kind::NUMGEN, &[Numgen::RANDOM, modulus, offset]) => {
            Some(Operand::Slot(SlotExpr::Random { modulus, offset }))
        }
        _ => None,
    }
}

fn expression_in(bytes: &[u8]) -> Option<(u32, &[u8])> {
    Some((as_number(find(bytes, KIND)?)?, find(bytes, PROPERTIES)?))
}

/// The value of the first triple of this kind.
pub(super) fn find(bytes: &[u8], kind: u8) -> Option<&[u8]> {
    Items(bytes).find(|(known, _)| *known == kind).map(|(_, value)| value)
}

fn as_number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// Consecutive triples.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [kind, length, rest @ ..] = self.0 else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some((*kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nft 1.0.6 sent for `ip daddr . meta l4proto . th dport . numgen random mod 3`.
    const RANDOM4_3: &str = "00040d00000001580014000407000000010c00040c00000001040c000000010e0004090000000106000410\
                             0000000214000407000000010c00040b000000010402000000031a00041700000001120004010000000104\
                             03000000020400000000";

    fn random4_3() -> Vec<Operand> {
        let fields = [Field::Daddr(Ip::V4), Field::L4proto, Field::Dport].map(Operand::Field);
        [fields.as_slice(), &[Operand::Slot(SlotExpr::Random { modulus: 3, offset: 0 })]].concat()
    }

    #[test]
    fn encode_concatenation_writes_what_nft_writes() {
        let hex: String = encode(&random4_3()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, RANDOM4_3);
        assert_eq!(datatype(&random4_3()), 0x001c_c344);
        assert_eq!(length(&random4_3()), 16);
    }

    #[test]
    fn decode_cut_short_is_none() {
        let bytes = encode(&random4_3());
        assert_eq!(decode(&bytes), Some(random4_3()));
        for end in 0..bytes.len() {
            assert_ne!(decode(&bytes[..end]), Some(random4_3()));
        }
    }
}
