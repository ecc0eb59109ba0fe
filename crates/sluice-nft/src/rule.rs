//! Rules as lists of statements, one for each operation of the kernel.

use std::fmt;

use crate::set::duration;
use crate::{ChainName, Field, Ip, Octets, Operand, Protocol, SetName};

/// A comparison of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// Equal to a value of the field's width.
    Eq(Octets<16>),
    /// Not equal to it.
    Ne(Octets<16>),
    /// Not in this prefix, whose length is a multiple of 8 bits.
    NotInPrefix(Octets<16>),
    /// Between the two, inclusive.
    InRange(Octets<16>, Octets<16>),
    /// At least one bit of this mask is set; for fields of four bytes in host order.
    AnyBit(u32),
    /// `field & of == are`, for fields of one byte.
    MaskedEq {
        /// Mask.
        mask: u8,
        /// Value under the mask.
        value: u8,
    },
    /// `field & of != are`, for fields of one byte.
    MaskedNe {
        /// Mask.
        mask: u8,
        /// Value under the mask.
        value: u8,
    },
}

/// One statement of a rule. Implied matches (`meta nfproto` before an IP address, `meta l4proto`
/// before a port) are separate statements here, because the kernel runs them; the text form
/// omits them where nft adds them again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// Continues if the comparison is true.
    Match(Field, Comparison),
    /// Continues if the key is in the set.
    InSet(Vec<Operand>, SetName),
    /// Continues if the key is not in the set.
    NotInSet(Vec<Operand>, SetName),
    /// Applies the verdict of the key in the map; ends the rule if there is none.
    VerdictMap(Vec<Operand>, SetName),
    /// Translates the destination to the data of the key in the map; ends the rule if there is none.
    Dnat {
        /// Version of the new address.
        ip: Ip,
        /// Key of the lookup.
        key: Vec<Operand>,
        /// Map to addresses, or to addresses and ports.
        map: SetName,
        /// Whether the map's data holds a port.
        port: bool,
    },
    /// Translates the source to the address of the outgoing interface, at a random port.
    Masquerade,
    /// Translates the source to one of these addresses.
    Snat {
        /// Version of the new address.
        ip: Ip,
        /// First address.
        first: Octets<16>,
        /// Last address.
        last: Octets<16>,
        /// How the port, and the address of a range, are chosen.
        ports: SourcePorts,
    },
    /// Translates the source to the address and port of the key in the map; ends the rule if there is none.
    SnatTo {
        /// Version of the new address.
        ip: Ip,
        /// Key of the lookup.
        key: Vec<Operand>,
        /// Map to addresses and ports.
        map: SetName,
    },
    /// Adds or updates the key in a set that rules fill. Ends the rule if the set is full or a limit is not exceeded.
    Update {
        /// Key of the element.
        key: Vec<Operand>,
        /// The set.
        set: SetName,
        /// Limit or data of the element.
        update: SetUpdate,
    },
    /// Counts packets and bytes. The counts are not part of the rule.
    Counter,
    /// Drops the packet.
    Drop,
    /// Excludes the packet from connection tracking.
    Notrack,
    /// Answers a SYN with a cookie. If an ACK returns a valid cookie, the kernel consumes the ACK and sends a SYN in the
    /// client's name. Drops other ACKs.
    Synproxy {
        /// Maximum segment size announced to clients, in bytes.
        mss: u16,
    },
    /// Answers a TCP packet with a reset.
    RejectReset,
    /// Answers with port unreachable.
    RejectPort,
    /// Ends the base chain; the packet passes.
    Accept,
    /// Continues in another chain without returning.
    Goto(ChainName),
    /// Continues in another chain and returns.
    Jump(ChainName),
    /// A statement that sluice never writes, as a description.
    Foreign(String),
}

/// How [`Statement::Snat`] chooses the port, and the address of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourcePorts {
    /// A random port; the address depends on the destination, too.
    #[default]
    Random,
    /// The client's port, if no other flow to that destination has it; a client has one address of the range.
    Keep,
}

/// Limit or data that [`Statement::Update`] attaches to an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetUpdate {
    /// `limit rate over`: continues for packets above the rate.
    LimitOver(Rate),
    /// `ct count over`: continues for connections above this number.
    CtCountOver(u32),
    /// These data, with a timeout in seconds.
    Data(Vec<Operand>, u32),
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// Packets per unit; at least 1.
    pub packets: u32,
    /// The unit in seconds: 1, 60, 3,600 or 86,400.
    pub unit: u32,
    /// Packets that may arrive at once.
    pub burst: u32,
}

impl Rate {
    /// nft's name of the unit.
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
        Statement::Match(field, Comparison::Eq(octets(value)))
    }

    /// `field != value`.
    pub fn is_not(field: Field, value: &[u8]) -> Self {
        Statement::Match(field, Comparison::Ne(octets(value)))
    }

    /// The key and the set of a lookup or an update.
    fn lookup(&self) -> Option<(&[Operand], &SetName)> {
        match self {
            Statement::InSet(key, set)
            | Statement::NotInSet(key, set)
            | Statement::VerdictMap(key, set)
            | Statement::Dnat { key, map: set, .. }
            | Statement::SnatTo { key, map: set, .. }
            | Statement::Update { key, set, .. } => Some((key, set)),
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

    fn operands(&self) -> &[Operand] {
        self.lookup().map_or(&[], |(key, _)| key)
    }

    /// The set that it looks up or fills.
    pub fn set(&self) -> Option<&SetName> {
        self.lookup().map(|(_, set)| set)
    }

    /// Mutable access to the same.
    pub fn set_mut(&mut self) -> Option<&mut SetName> {
        match self {
            Statement::InSet(_, set)
            | Statement::NotInSet(_, set)
            | Statement::VerdictMap(_, set)
            | Statement::Dnat { map: set, .. }
            | Statement::SnatTo { map: set, .. }
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

    fn reads(&self, test: impl Fn(Field) -> bool) -> bool {
        match self {
            Statement::Match(field, _) => test(*field),
            other => other.operands().iter().flat_map(Operand::fields).any(|field| test(*field)),
        }
    }
}

/// A compared value, at most sixteen bytes: the widest fields are IPv6 addresses and interface names.
fn octets(value: &[u8]) -> Octets<16> {
    Octets::new(value).expect("no field is wider than sixteen bytes")
}

/// A list of statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule(pub Vec<Statement>);

impl Rule {
    /// Whether nft adds this match again when it reads the text.
    fn is_implied(&self, at: usize) -> bool {
        let later = &self.0[at + 1..];
        match &self.0[at] {
            Statement::Match(Field::Nfproto, Comparison::Eq(value)) => later
                .iter()
                .any(|s| s.reads(|f| f.header().is_some_and(|ip| value.as_slice() == [ip.nfproto()]))),
            Statement::Match(Field::L4proto, Comparison::Eq(value)) => protocol_of(value)
                .is_some_and(|protocol| later.iter().any(|s| s.reads(|f| f.is_of_transport(protocol)))),
            _ => false,
        }
    }

    /// The protocol that a statement before `at` matches, if it has a name in nft.
    fn transport(&self, at: usize) -> Option<Protocol> {
        self.0[..at].iter().find_map(|s| match s {
            Statement::Match(Field::L4proto, Comparison::Eq(value)) => protocol_of(value),
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
        Statement::Dnat { ip, key: parts, map, .. } | Statement::SnatTo { ip, key: parts, map } => {
            let verb = if matches!(statement, Statement::Dnat { .. }) { "dnat" } else { "snat" };
            write!(f, "{verb} {} to ", ip.keyword())?;
            key(f, parts)?;
            write!(f, " map @{map}")
        }
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Snat { ip, first, last, ports } => {
            let field = Field::Saddr(*ip);
            write!(f, "snat {} to ", ip.keyword())?;
            field.write_value(f, first.as_slice())?;
            if first != last {
                f.write_str("-")?;
                field.write_value(f, last.as_slice())?;
            }
            f.write_str(match ports {
                SourcePorts::Random => " fully-random",
                SourcePorts::Keep => " persistent",
            })
        }
        Statement::Update { key: parts, set, update } => {
            let verb = if matches!(update, SetUpdate::CtCountOver(_)) { "add" } else { "update" };
            write!(f, "{verb} @{set} {{ ")?;
            key(f, parts)?;
            match update {
                SetUpdate::LimitOver(rate) => {
                    let Rate { packets, burst, .. } = rate;
                    write!(f, " limit rate over {packets}/{} burst {burst} packets", rate.unit_name())?;
                }
                SetUpdate::CtCountOver(count) => write!(f, " ct count over {count}")?,
                SetUpdate::Data(data, timeout) => {
                    write!(f, " timeout {} : ", duration(*timeout))?;
                    key(f, data)?;
                }
            }
            f.write_str(" }")
        }
        Statement::Counter => f.write_str("counter"),
        Statement::Drop => f.write_str("drop"),
        Statement::Notrack => f.write_str("notrack"),
        // No window scaling; nft 1.0.6 always lists `wscale`.
        Statement::Synproxy { mss } => write!(f, "synproxy mss {mss} wscale 0"),
        Statement::RejectReset => f.write_str("reject with tcp reset"),
        Statement::RejectPort => f.write_str("reject"),
        Statement::Accept => f.write_str("accept"),
        Statement::Goto(chain) => write!(f, "goto {chain}"),
        Statement::Jump(chain) => write!(f, "jump {chain}"),
        Statement::Foreign(text) => f.write_str(text),
    }
}

fn write_test(f: &mut fmt::Formatter<'_>, field: Field, test: &Comparison) -> fmt::Result {
    match test {
        Comparison::Eq(value) => {
            // For bit fields, nft reads a value without operator as `Has`.
            f.write_str(if matches!(field, Field::CtState | Field::CtStatus) { " == " } else { " " })?;
            field.write_value(f, value.as_slice())
        }
        Comparison::Ne(value) => {
            f.write_str(" != ")?;
            field.write_value(f, value.as_slice())
        }
        Comparison::NotInPrefix(prefix) => {
            let mut network = prefix.as_slice().to_vec();
            network.resize(field.width(), 0);
            f.write_str(" != ")?;
            field.write_value(f, &network)?;
            write!(f, "/{}", 8 * prefix.as_slice().len())
        }
        Comparison::InRange(first, last) => {
            f.write_str(" ")?;
            field.write_value(f, first.as_slice())?;
            f.write_str("-")?;
            field.write_value(f, last.as_slice())
        }
        Comparison::MaskedEq { mask, value } | Comparison::MaskedNe { mask, value } => {
            f.write_str(if matches!(test, Comparison::MaskedEq { .. }) { " " } else { " != " })?;
            field.write_value(f, &[*value])?;
            f.write_str(" / ")?;
            field.write_value(f, &[*mask])
        }
        Comparison::AnyBit(mask) => {
            f.write_str(" ")?;
            field.write_value(f, &mask.to_ne_bytes())
        }
    }
}
