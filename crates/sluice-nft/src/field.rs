//! Fields of a packet or its connection that rules read, and slot numbers computed from them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Octets, Protocol};

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ip {
    /// Both versions, in the order in which rules and sets are rendered.
    pub const ALL: [Ip; 2] = [Ip::V4, Ip::V6];

    /// Version of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Ip::V4 } else { Ip::V6 }
    }

    /// The address of this version that bytes begin with, and what is behind it.
    pub fn split_address(self, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
        match self {
            Ip::V4 => bytes.split_first_chunk::<4>().map(|(address, rest)| ((*address).into(), rest)),
            Ip::V6 => bytes.split_first_chunk::<16>().map(|(address, rest)| ((*address).into(), rest)),
        }
    }

    /// nft's keyword for the header: `ip` or `ip6`.
    pub fn keyword(self) -> &'static str {
        match self {
            Ip::V4 => "ip",
            Ip::V6 => "ip6",
        }
    }

    /// `4` or `6`, the suffix of our set and chain names.
    pub fn digit(self) -> char {
        match self {
            Ip::V4 => '4',
            Ip::V6 => '6',
        }
    }

    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub fn nfproto(self) -> u8 {
        match self {
            Ip::V4 => 2,
            Ip::V6 => 10,
        }
    }
}

/// A value of fixed width that the kernel loads into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `ip saddr`, 4 or 16 bytes, network order.
    Saddr(Ip),
    /// `ip daddr`, 4 or 16 bytes, network order.
    Daddr(Ip),
    /// `th sport`, 2 bytes, network order.
    Sport,
    /// `th dport`, 2 bytes, network order.
    Dport,
    /// `tcp flags`, 1 byte; see [`Field::SYN`].
    TcpFlags,
    /// `meta l4proto`, 1 byte.
    L4proto,
    /// `meta nfproto`, 1 byte.
    Nfproto,
    /// `iifname`, 16 bytes, zero-padded.
    Iifname,
    /// `oifname`, 16 bytes, zero-padded.
    Oifname,
    /// `fib daddr type`, 4 bytes, host order; see [`Field::LOCAL`].
    FibDaddrType,
    /// `fib saddr type`, 4 bytes, host order; see [`Field::LOCAL`].
    FibSaddrType,
    /// `ct state`, 4 bytes, host order; see [`Field::NEW`].
    CtState,
    /// `ct status`, 4 bytes, host order; see [`Field::DNAT`].
    CtStatus,
    /// `ct original ip daddr`, 4 or 16 bytes, network order.
    CtOriginalDaddr(Ip),
    /// `ct original proto-dst`, 2 bytes, network order.
    CtOriginalDport,
}

impl Field {
    /// [`Field::FibDaddrType`] and [`Field::FibSaddrType`] of local addresses (`RTN_LOCAL`).
    pub const LOCAL: u32 = 2;
    /// [`Field::FibDaddrType`] of broadcast addresses (`RTN_BROADCAST`).
    pub const BROADCAST: u32 = 3;
    /// [`Field::FibDaddrType`] of multicast addresses (`RTN_MULTICAST`).
    pub const MULTICAST: u32 = 5;
    /// Bit of [`Field::CtState`]: first packet of a flow.
    pub const NEW: u32 = 1 << 3;
    /// Bit of [`Field::CtState`]: packet that belongs to no connection and cannot begin one.
    pub const INVALID: u32 = 1;
    /// Bit of [`Field::CtState`]: packet with `notrack`.
    pub const UNTRACKED: u32 = 1 << 6;
    /// Bit of [`Field::TcpFlags`].
    pub const SYN: u8 = 1 << 1;
    /// Bit of [`Field::TcpFlags`]: set in every packet of a connection except the first.
    pub const ACK: u8 = 1 << 4;
    /// Mask of [`Field::TcpFlags`] (FIN, SYN, RST, ACK) that is [`Field::SYN`] in the first packet of a connection only.
    pub const OPENING: u8 = 0x17;
    /// Bit of [`Field::CtStatus`]: the destination was translated (`IPS_DST_NAT`).
    pub const DNAT: u32 = 1 << 5;
    /// Bit of [`Field::CtStatus`]: packets do not extend the timeout (`IPS_FIXED_TIMEOUT`).
    pub const FIXED_TIMEOUT: u32 = 1 << 10;

    /// Width in bytes, before padding.
    pub fn width(self) -> usize {
        match self {
            Field::Saddr(Ip::V4) | Field::Daddr(Ip::V4) | Field::CtOriginalDaddr(Ip::V4) => 4,
            Field::Saddr(Ip::V6) | Field::Daddr(Ip::V6) | Field::CtOriginalDaddr(Ip::V6) => 16,
            Field::Sport | Field::Dport | Field::CtOriginalDport => 2,
            Field::TcpFlags | Field::L4proto | Field::Nfproto => 1,
            Field::Iifname | Field::Oifname => 16,
            Field::FibDaddrType | Field::FibSaddrType | Field::CtState | Field::CtStatus => 4,
        }
    }

    /// Whether it is a port of the transport header.
    pub fn is_port(self) -> bool {
        matches!(self, Field::Sport | Field::Dport)
    }

    /// Whether it is in the header of a protocol, so that nft derives the match on the protocol from it.
    pub(crate) fn is_of_transport(self, protocol: Protocol) -> bool {
        self.is_port() || self == Field::TcpFlags && protocol == Protocol::Tcp
    }

    /// The IP header that contains it, if any.
    pub fn header(self) -> Option<Ip> {
        match self {
            Field::Saddr(ip) | Field::Daddr(ip) => Some(ip),
            _ => None,
        }
    }

    /// Writes a value of this field in nft syntax.
    pub(crate) fn write_value(self, f: &mut fmt::Formatter<'_>, value: &[u8]) -> fmt::Result {
        let host = |v: &[u8]| v.try_into().map(u32::from_ne_bytes).ok();
        match (self, value) {
            (Field::L4proto, [number]) => match Protocol::from_number(*number) {
                Some(protocol) => f.write_str(protocol.as_str()),
                None => write!(f, "{number}"),
            },
            (Field::Nfproto, [2]) => f.write_str("ipv4"),
            (Field::Nfproto, [10]) => f.write_str("ipv6"),
            (Field::Iifname | Field::Oifname, name) => {
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                write!(f, "\"{}\"", name[..end].escape_ascii())
            }
            (Field::FibDaddrType | Field::FibSaddrType, v) => match host(v) {
                Some(Field::LOCAL) => f.write_str("local"),
                Some(Field::BROADCAST) => f.write_str("broadcast"),
                Some(Field::MULTICAST) => f.write_str("multicast"),
                other => write!(f, "{}", other.unwrap_or_default()),
            },
            (Field::CtState | Field::CtStatus, v) => match (self, host(v)) {
                (Field::CtState, Some(bits)) => write_bits(f, bits, &STATES),
                (Field::CtStatus, Some(Field::DNAT)) => f.write_str("dnat"),
                (_, other) => write!(f, "0x{:x}", other.unwrap_or_default()),
            },
            (Field::TcpFlags, [bits]) => write_bits(f, u32::from(*bits), &FLAGS),
            (_, v) => match v.len() {
                2 => write!(f, "{}", u16::from_be_bytes([v[0], v[1]])),
                4 => write!(f, "{}", Ipv4Addr::from([v[0], v[1], v[2], v[3]])),
                16 => write!(f, "{}", Ipv6Addr::from(<[u8; 16]>::try_from(v).unwrap_or_default())),
                _ => write!(f, "0x{}", v.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            },
        }
    }
}

/// nft's names of the bits of `ct state` and of `tcp flags`, in the order in which it lists them.
const STATES: [(u32, &str); 5] = [
    (Field::INVALID, "invalid"),
    (2, "established"),
    (4, "related"),
    (Field::NEW, "new"),
    (Field::UNTRACKED, "untracked"),
];
const FLAGS: [(u32, &str); 8] =
    [(1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack"), (32, "urg"), (64, "ecn"), (128, "cwr")];

fn write_bits(f: &mut fmt::Formatter<'_>, bits: u32, names: &[(u32, &str)]) -> fmt::Result {
    let known = names.iter().filter(|(bit, _)| bits & bit != 0);
    if bits == 0 || known.clone().fold(0, |sum, (bit, _)| sum | bit) != bits {
        return write!(f, "0x{bits:x}");
    }
    f.write_str(&known.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Saddr(ip) => write!(f, "{} saddr", ip.keyword()),
            Field::Daddr(ip) => write!(f, "{} daddr", ip.keyword()),
            Field::Sport => f.write_str("th sport"),
            Field::Dport => f.write_str("th dport"),
            Field::TcpFlags => f.write_str("tcp flags"),
            Field::L4proto => f.write_str("meta l4proto"),
            Field::Nfproto => f.write_str("meta nfproto"),
            Field::Iifname => f.write_str("iifname"),
            Field::Oifname => f.write_str("oifname"),
            Field::FibDaddrType => f.write_str("fib daddr type"),
            Field::FibSaddrType => f.write_str("fib saddr type"),
            Field::CtState => f.write_str("ct state"),
            Field::CtStatus => f.write_str("ct status"),
            Field::CtOriginalDaddr(ip) => write!(f, "ct original {} daddr", ip.keyword()),
            Field::CtOriginalDport => f.write_str("ct original proto-dst"),
        }
    }
}

/// An expression that computes a slot number: a `u32` in host order from `offset` to `offset + modulus - 1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotExpr {
    /// `numgen inc`: a counter that is part of the rule.
    Inc {
        /// Number of slots.
        modulus: u32,
        /// First slot.
        offset: u32,
    },
    /// `numgen random`.
    Random {
        /// Number of slots.
        modulus: u32,
        /// First slot.
        offset: u32,
    },
    /// `jhash` of concatenated fields.
    Jhash {
        /// The hashed fields, each padded to four bytes; a single field is not padded.
        on: Vec<Field>,
        /// Number of slots.
        modulus: u32,
        /// Initial value; fixed, so that two hosts compute the same slots.
        seed: u32,
        /// First slot.
        offset: u32,
    },
}

impl SlotExpr {
    /// A constant. nft has no type for a plain number in the key of a map lookup, but it has one for `numgen`.
    pub fn constant(number: u32) -> Self {
        SlotExpr::Random { modulus: 1, offset: number }
    }

    /// Number of slots and the first one.
    pub fn range(&self) -> (u32, u32) {
        match *self {
            SlotExpr::Inc { modulus, offset }
            | SlotExpr::Random { modulus, offset }
            | SlotExpr::Jhash { modulus, offset, .. } => (modulus, offset),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, names: &dyn Fn(Field) -> String) -> fmt::Result {
        match self {
            SlotExpr::Inc { modulus, .. } => write!(f, "numgen inc mod {modulus}")?,
            SlotExpr::Random { modulus, .. } => write!(f, "numgen random mod {modulus}")?,
            SlotExpr::Jhash { on, modulus, seed, .. } => {
                let on = on.iter().map(|field| names(*field)).collect::<Vec<_>>().join(" . ");
                write!(f, "jhash {on} mod {modulus} seed 0x{seed:x}")?;
            }
        }
        match self.range() {
            (_, 0) => Ok(()),
            (_, offset) => write!(f, " offset {offset}"),
        }
    }
}

/// One part of a concatenated key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operand {
    /// Read from the packet or its connection.
    Field(Field),
    /// A slot number.
    Slot(SlotExpr),
    /// The leading bits of an address of the packet, the rest zero.
    Prefix(Field, u8),
}

impl Operand {
    /// Width in bytes, before padding.
    pub fn width(&self) -> usize {
        match self {
            Operand::Field(field) => field.width(),
            Operand::Slot(_) => 4,
            Operand::Prefix(field, _) => field.width(),
        }
    }

    /// The fields it reads.
    pub fn fields(&self) -> &[Field] {
        match self {
            Operand::Field(field) | Operand::Prefix(field, _) => std::slice::from_ref(field),
            Operand::Slot(SlotExpr::Jhash { on, .. }) => on,
            Operand::Slot(_) => &[],
        }
    }

    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, names: &dyn Fn(Field) -> String) -> fmt::Result {
        match self {
            Operand::Field(field) => f.write_str(&names(*field)),
            Operand::Slot(pick) => pick.write(f, names),
            Operand::Prefix(field, bits) => {
                write!(f, "{} & ", names(*field))?;
                field.write_value(f, mask(field.width(), *bits).as_slice())
            }
        }
    }

    pub(crate) fn write_value(&self, f: &mut fmt::Formatter<'_>, value: &[u8]) -> fmt::Result {
        match self {
            Operand::Field(field) | Operand::Prefix(field, _) => field.write_value(f, value),
            Operand::Slot(_) => write!(f, "{}", u32::from_ne_bytes(value.try_into().unwrap_or_default())),
        }
    }
}

/// A netmask of `width` bytes with `bits` leading ones.
pub fn mask(width: usize, bits: u8) -> Octets<16> {
    let ones = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    Octets::new(&ones.to_be_bytes()[..width]).expect("no field is wider")
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|field| field.to_string())
    }
}
