//! Rules as statements, one for one what the kernel runs.

use std::fmt;

use crate::set::duration;
use crate::{ChainName, Field, Ip, Octets, Operand, Protocol, SetName};

/// How a field is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// Equal to a value of the field's width.
    Is(Octets<16>),
    /// Not equal to it.
    IsNot(Octets<16>),
    /// Its leading bytes differ from these; a prefix that ends on a byte.
    NotUnder(Octets<16>),
    /// Between the two, inclusive.
    Between(Octets<16>, Octets<16>),
    /// Has a bit of this mask set; fields of four bytes in host order.
    Has(u32),
    /// Of these bits of a field of one byte, it has exactly those.
    Bits {
        /// The bits that are looked at.
        of: u8,
        /// Those it has.
        are: u8,
    },
    /// It has others.
    BitsNot {
        /// The bits that are looked at.
        of: u8,
        /// Those it must not have exactly.
        are: u8,
    },
}

/// One statement of a rule. Implied matches (`meta nfproto` before an IP address, `meta l4proto`
/// before a port) are statements of their own here, because the kernel runs them; the text form
/// leaves them out where nft puts them back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// Goes on only if the test holds.
    Match(Field, Test),
    /// Goes on only if the key is in the set.
    InSet(Vec<Operand>, SetName),
    /// Goes on only if the key is not in the set.
    NotInSet(Vec<Operand>, SetName),
    /// Takes the verdict the map holds for the key, goes on if there is none.
    VerdictMap(Vec<Operand>, SetName),
    /// Translates the destination to what the map holds for the key, goes on if there is none.
    Dnat {
        /// Version of the new address.
        ip: Ip,
        /// Looked up.
        key: Vec<Operand>,
        /// Map to addresses, or to address and port.
        map: SetName,
        /// Whether the map's data holds a port.
        port: bool,
    },
    /// Translates the source to the address of the outgoing interface, at a random port.
    Masquerade,
    /// Translates the source to one of these addresses, at a random port.
    Snat {
        /// Version of the new address.
        ip: Ip,
        /// First address.
        first: Octets<16>,
        /// Last address.
        last: Octets<16>,
    },
    /// Puts the key into a set that rules fill, and leaves the rule if that is full or [`Learn`] says so.
    Update {
        /// What is put in.
        key: Vec<Operand>,
        /// The set.
        set: SetName,
        /// What goes with it.
        learn: Learn,
    },
    /// Counts packets and bytes. The numbers are no part of the rule.
    Counter,
    /// Drops the packet.
    Drop,
    /// Keeps conntrack from looking at the packet.
    Notrack,
    /// Answers a SYN in the place of who it is for, with a cookie. A client that sends that back gets a connection: the
    /// packet ends here, and the host sends a SYN of its own in the client's name. Drops other ACKs.
    Synproxy {
        /// The largest segment that clients are told to send, in bytes.
        mss: u16,
    },
    /// Answers a TCP packet with a reset.
    RejectReset,
    /// Answers with port unreachable.
    RejectPort,
    /// Ends evaluation of the base chain: the packet passes.
    Accept,
    /// Continues in another chain and does not come back.
    Goto(ChainName),
    /// Continues in another chain and comes back.
    Jump(ChainName),
    /// Something sluice never writes, as the kernel describes it.
    Foreign(String),
}

/// What a rule keeps with a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Learn {
    /// How many packets there are: goes on for one that is above this rate.
    Above(Rate),
    /// Which connections there are: goes on for one above this number.
    MoreThan(u32),
    /// These values, for so many seconds.
    Value(Vec<Operand>, u32),
}

/// A token bucket: packets by unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// Packets in each unit; at least 1.
    pub packets: u32,
    /// The unit in seconds: 1, 60, 3,600 or 86,400.
    pub unit: u32,
    /// Packets that may come at once.
    pub burst: u32,
}

impl Rate {
    /// What its unit is called.
    pub fn unit_name(self) -> &'static str {
        match self.unit {
            1 => "second",
            60 => "minute",
            3600 => "hour",
            _ => "day",
        }
    }
}

impl Statement {
    /// `field == value`.
    pub fn is(field: Field, value: &[u8]) -> Self {
        Statement::Match(field, Test::Is(octets(value)))
    }

    /// `field != value`.
    pub fn is_not(field: Field, value: &[u8]) -> Self {
        Statement::Match(field, Test::IsNot(octets(value)))
    }

    fn operands(&self) -> &[Operand] {
        match self {
            Statement::InSet(key, _)
            | Statement::NotInSet(key, _)
            | Statement::VerdictMap(key, _)
            | Statement::Dnat { key, .. }
            | Statement::Update { key, .. } => key,
            _ => &[],
        }
    }

    /// The set it looks into or fills.
    pub fn set(&self) -> Option<&SetName> {
        match self {
            Statement::InSet(_, set)
            | Statement::NotInSet(_, set)
            | Statement::VerdictMap(_, set)
            | Statement::Dnat { map: set, .. }
            | Statement::Update { set, .. } => Some(set),
            Statement::Match(..)
            | Statement::Masquerade
            | Statement::Snat { .. }
            | Statement::Counter
            | Statement::Drop
            | Statement::Notrack
            | Statement::Synproxy { .. }
            | Statement::RejectReset
            | Statement::RejectPort
            | Statement::Accept
            | Statement::Goto(_)
            | Statement::Jump(_)
            | Statement::Foreign(_) => None,
        }
    }

    /// The same to change it.
    pub fn set_mut(&mut self) -> Option<&mut SetName> {
        match self {
            Statement::InSet(_, set)
            | Statement::NotInSet(_, set)
            | Statement::VerdictMap(_, set)
            | Statement::Dnat { map: set, .. }
            | Statement::Update { set, .. } => Some(set),
            Statement::Match(..)
            | Statement::Masquerade
            | Statement::Snat { .. }
            | Statement::Counter
            | Statement::Drop
            | Statement::Notrack
            | Statement::Synproxy { .. }
            | Statement::RejectReset
            | Statement::RejectPort
            | Statement::Accept
            | Statement::Goto(_)
            | Statement::Jump(_)
            | Statement::Foreign(_) => None,
        }
    }

    fn reads(&self, wanted: impl Fn(Field) -> bool) -> bool {
        match self {
            Statement::Match(field, _) => wanted(*field),
            other => other.operands().iter().flat_map(Operand::fields).any(|field| wanted(*field)),
        }
    }
}

/// Padded or not, a compared value fits sixteen bytes: the widest field is an IPv6 address or a name.
fn octets(value: &[u8]) -> Octets<16> {
    Octets::new(value).expect("no field is wider than sixteen bytes")
}

/// A list of statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule(pub Vec<Statement>);

impl Rule {
    /// Whether nft, reading the text, puts this match back by itself.
    fn is_implied(&self, at: usize) -> bool {
        let later = &self.0[at + 1..];
        match &self.0[at] {
            Statement::Match(Field::Nfproto, Test::Is(value)) => later
                .iter()
                .any(|s| s.reads(|f| f.header().is_some_and(|ip| value.as_slice() == [ip.nfproto()]))),
            Statement::Match(Field::L4proto, Test::Is(value)) => protocol_of(value)
                .is_some_and(|protocol| later.iter().any(|s| s.reads(|f| f.is_of_transport(protocol)))),
            _ => false,
        }
    }

    /// The protocol that a match before statement `at` fixed, if it has a name in nft.
    fn transport(&self, at: usize) -> Option<Protocol> {
        self.0[..at].iter().find_map(|s| match s {
            Statement::Match(Field::L4proto, Test::Is(value)) => protocol_of(value),
            _ => None,
        })
    }
}

fn protocol_of(value: &Octets<16>) -> Option<Protocol> {
    match value.as_slice() {
        [number] => Protocol::from_number(*number),
        _ => None,
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (at, statement) in self.0.iter().enumerate().filter(|(at, _)| !self.is_implied(*at)) {
            f.write_str(separator)?;
            separator = " ";
            let transport = self.transport(at).map_or("th", Protocol::as_str);
            let name = |field: Field| match field {
                Field::Sport => format!("{transport} sport"),
                Field::Dport => format!("{transport} dport"),
                other => other.to_string(),
            };
            write_statement(f, statement, &name)?;
        }
        Ok(())
    }
}

fn write_statement(
    f: &mut fmt::Formatter<'_>,
    statement: &Statement,
    name: &dyn Fn(Field) -> String,
) -> fmt::Result {
    let key = |f: &mut fmt::Formatter<'_>, key: &[Operand]| {
        key.iter().enumerate().try_for_each(|(n, part)| {
            f.write_str(if n > 0 { " . " } else { "" })?;
            part.write(f, name)
        })
    };
    match statement {
        Statement::Match(field, test) => {
            f.write_str(&name(*field))?;
            write_test(f, *field, test)
        }
        Statement::InSet(parts, set) => {
            key(f, parts)?;
            write!(f, " @{set}")
        }
        Statement::NotInSet(parts, set) => {
            key(f, parts)?;
            write!(f, " != @{set}")
        }
        Statement::VerdictMap(parts, map) => {
            key(f, parts)?;
            write!(f, " vmap @{map}")
        }
        Statement::Dnat { ip, key: parts, map, .. } => {
            write!(f, "dnat {} to ", ip.keyword())?;
            key(f, parts)?;
            write!(f, " map @{map}")
        }
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Snat { ip, first, last } => {
            let field = Field::Saddr(*ip);
            write!(f, "snat {} to ", ip.keyword())?;
            field.write_value(f, first.as_slice())?;
            if first != last {
                f.write_str("-")?;
                field.write_value(f, last.as_slice())?;
            }
            f.write_str(" fully-random")
        }
        Statement::Update { key: parts, set, learn } => {
            let verb = if matches!(learn, Learn::MoreThan(_)) { "add" } else { "update" };
            write!(f, "{verb} @{set} {{ ")?;
            key(f, parts)?;
            match learn {
                Learn::Above(rate) => {
                    let Rate { packets, burst, .. } = rate;
                    write!(f, " limit rate over {packets}/{} burst {burst} packets", rate.unit_name())?;
                }
                Learn::MoreThan(count) => write!(f, " ct count over {count}")?,
                Learn::Value(data, timeout) => {
                    write!(f, " timeout {} : ", duration(*timeout))?;
                    key(f, data)?;
                }
            }
            f.write_str(" }")
        }
        Statement::Counter => f.write_str("counter"),
        Statement::Drop => f.write_str("drop"),
        Statement::Notrack => f.write_str("notrack"),
        // Without a window scale of its own; nft 1.0.6 lists one in any case.
        Statement::Synproxy { mss } => write!(f, "synproxy mss {mss} wscale 0"),
        Statement::RejectReset => f.write_str("reject with tcp reset"),
        Statement::RejectPort => f.write_str("reject"),
        Statement::Accept => f.write_str("accept"),
        Statement::Goto(chain) => write!(f, "goto {chain}"),
        Statement::Jump(chain) => write!(f, "jump {chain}"),
        Statement::Foreign(text) => f.write_str(text),
    }
}

fn write_test(f: &mut fmt::Formatter<'_>, field: Field, test: &Test) -> fmt::Result {
    match test {
        Test::Is(value) => {
            // Of bits, nft takes the bare value for `Has`.
            f.write_str(if matches!(field, Field::CtState | Field::CtStatus) { " == " } else { " " })?;
            field.write_value(f, value.as_slice())
        }
        Test::IsNot(value) => {
            f.write_str(" != ")?;
            field.write_value(f, value.as_slice())
        }
        Test::NotUnder(prefix) => {
            let mut network = prefix.as_slice().to_vec();
            network.resize(field.width(), 0);
            f.write_str(" != ")?;
            field.write_value(f, &network)?;
            write!(f, "/{}", 8 * prefix.as_slice().len())
        }
        Test::Between(first, last) => {
            f.write_str(" ")?;
            field.write_value(f, first.as_slice())?;
            f.write_str("-")?;
            field.write_value(f, last.as_slice())
        }
        Test::Bits { of, are } | Test::BitsNot { of, are } => {
            f.write_str(if matches!(test, Test::Bits { .. }) { " " } else { " != " })?;
            field.write_value(f, &[*are])?;
            f.write_str(" / ")?;
            field.write_value(f, &[*of])
        }
        Test::Has(mask) => {
            f.write_str(" ")?;
            field.write_value(f, &mask.to_ne_bytes())
        }
    }
}
