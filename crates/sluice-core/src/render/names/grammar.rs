//! The grammar of object names: one declaration defines how a name is written and how it is parsed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sluice_nft::{Base, Ip, SourcePorts};

use super::{Access, FrontendId, PickBy};
use crate::model::{Address, DropReason, Listener, Ports, Protocol, ServiceName, Source};
use crate::render::affinity::Remembered;
use crate::render::layout::MapShape;

/// Declares an enum of names. The text of each variant follows its `=`: literals and fields in order, `["-"
/// field]` for an optional field, and `{"-word" field}` for a flag. A text is parsed as the first variant
/// that matches all of it.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident => $name:ident { $($(#[$about:meta])*
        $variant:ident $(($($field:ident: $of:ty),*))? = [$($piece:tt)+],)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$about])* $variant $(($($of),*))?,)*
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($type::$variant $(($($field),*))? => { names!(@write f $($piece)+); })*
                }
                Ok(())
            }
        }

        impl From<$type> for $name {
            fn from(id: $type) -> Self {
                id.to_string().into()
            }
        }

        impl $type {
            fn read(text: &str) -> Option<Self> {
                None$(.or_else(|| {
                    let mut rest = text;
                    names!(@read rest $($piece)+);
                    rest.is_empty().then_some($type::$variant $(($($field),*))?)
                }))*
            }
        }
    };
    (@write $f:ident) => {};
    (@write $f:ident $text:literal $($more:tt)*) => { $f.write_str($text)?; names!(@write $f $($more)*); };
    (@write $f:ident $field:ident $($more:tt)*) => { $field.write($f)?; names!(@write $f $($more)*); };
    (@write $f:ident [$mark:literal $field:ident] $($more:tt)*) => {
        if let Some(field) = $field {
            $f.write_str($mark)?;
            field.write($f)?;
        }
        names!(@write $f $($more)*);
    };
    (@write $f:ident {$word:literal $flag:ident} $($more:tt)*) => {
        $f.write_str(if *$flag { $word } else { "" })?;
        names!(@write $f $($more)*);
    };
    (@read $rest:ident) => {};
    (@read $rest:ident $text:literal $($more:tt)*) => {
        literal(&mut $rest, $text)?;
        names!(@read $rest $($more)*);
    };
    (@read $rest:ident $field:ident $($more:tt)*) => {
        let $field = Word::read(&mut $rest)?;
        names!(@read $rest $($more)*);
    };
    (@read $rest:ident [$mark:literal $field:ident] $($more:tt)*) => {
        let $field = optional(&mut $rest, $mark);
        names!(@read $rest $($more)*);
    };
    (@read $rest:ident {$word:literal $flag:ident} $($more:tt)*) => {
        let $flag = literal(&mut $rest, $word).is_some();
        names!(@read $rest $($more)*);
    };
}
pub(super) use names;

/// A part of a name.
pub(super) trait Word: Sized {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Parses it from the beginning of `rest`.
    fn read(rest: &mut &str) -> Option<Self>;
}

/// Removes a literal from the beginning of `rest`.
pub(super) fn literal(rest: &mut &str, text: &str) -> Option<()> {
    *rest = rest.strip_prefix(text)?;
    Some(())
}

/// Parses a mark and the part after it, if the mark is there.
pub(super) fn optional<T: Word>(rest: &mut &str, mark: &str) -> Option<T> {
    let mut ahead = *rest;
    literal(&mut ahead, mark)?;
    let word = T::read(&mut ahead)?;
    *rest = ahead;
    Some(word)
}

/// Removes the text before the next `/`.
fn until_slash<'a>(rest: &mut &'a str) -> &'a str {
    let (word, behind) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    *rest = behind;
    word
}

macro_rules! words {
    ($($type:ty: $words:expr;)*) => {$(
        impl Word for $type {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (_, word) = $words.into_iter().find(|(value, _)| value == self).ok_or(fmt::Error)?;
                f.write_str(word)
            }

            fn read(rest: &mut &str) -> Option<Self> {
                let words = $words.into_iter().filter(|(_, word)| rest.starts_with(word));
                let (value, word) = words.max_by_key(|(_, word)| word.len())?;
                literal(rest, word)?;
                Some(value)
            }
        }
    )*};
}

words! {
    Ip: [(Ip::V4, "4"), (Ip::V6, "6")];
    Protocol: Protocol::ALL.map(|protocol| (protocol, protocol.as_str()));
    DropReason: DropReason::ALL.map(|reason| (reason, reason.as_str()));
    Access: [Access::Allow, Access::Deny].map(|access| (access, access.word()));
    MapShape: [(MapShape::Slots, "slots"), (MapShape::Addresses, "addresses"), (MapShape::Ports, "ports")];
    PickBy: [
        (PickBy::Random, "random"),
        (PickBy::Hash, "hash"),
        (PickBy::HashWithPort, "hash-port"),
        (PickBy::Maglev, "maglev"),
        (PickBy::MaglevWithPort, "maglev-port"),
    ];
    Base: [
        (Base::SYN, "syn"),
        (Base::GUARD, "guard"),
        (Base::PREROUTING, "prerouting"),
        (Base::OUTPUT, "output"),
        (Base::INPUT, "input"),
        (Base::FORWARD, "forward"),
        (Base::LEARN, "learn"),
        (Base::POSTROUTING, "postrouting"),
    ];
    Remembered: [(Remembered::AddressAndPort, "clients"), (Remembered::Address, "client-addresses")];
    Vec<Remembered>: [
        (vec![Remembered::AddressAndPort], ""),
        (vec![Remembered::Address], "/address"),
        (Remembered::ALL.to_vec(), "/both"),
    ];
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Word for $type {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }

            fn read(rest: &mut &str) -> Option<Self> {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, behind) = rest.split_at(end);
                *rest = behind;
                digits.parse().ok()
            }
        }
    )*};
}

numbers! { u8 u16 u32 }

impl Word for Arc<str> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }

    fn read(rest: &mut &str) -> Option<Self> {
        Some(until_slash(rest)).filter(|word| !word.is_empty()).map(Into::into)
    }
}

/// Words separated by `/`, up to the end.
impl Word for Vec<Arc<str>> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.join("/"))
    }

    fn read(rest: &mut &str) -> Option<Self> {
        Some(std::mem::take(rest))
            .filter(|words| !words.is_empty())
            .map(|words| words.split('/').map(Into::into).collect())
    }
}

impl Word for ServiceName {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }

    fn read(rest: &mut &str) -> Option<Self> {
        ServiceName::new(until_slash(rest)).ok()
    }
}

/// `web/tcp/any4/80`
impl fmt::Display for FrontendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listener { address, ports, protocol } = self.listener;
        write!(f, "{}/{protocol}/", self.service)?;
        match address {
            Address::Any => write!(f, "any{}/", self.ip.digit())?,
            Address::Exact(IpAddr::V4(address)) => write!(f, "{address}/")?,
            Address::Exact(IpAddr::V6(address)) => write!(f, "{}/", address.to_string().replace(':', "-"))?,
        }
        if ports == Ports::ALL { f.write_str("any") } else { write!(f, "{ports}") }
    }
}

impl Word for FrontendId {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn read(rest: &mut &str) -> Option<Self> {
        let service = ServiceName::read(rest)?;
        let protocol = optional(rest, "/")?;
        literal(rest, "/")?;
        let (address, ip) = match until_slash(rest) {
            "any4" => (Address::Any, Ip::V4),
            "any6" => (Address::Any, Ip::V6),
            address => self::address(address).map(|address| (Address::Exact(address), Ip::of(address)))?,
        };
        literal(rest, "/")?;
        let ports = match until_slash(rest) {
            "any" => Ports::ALL,
            ports => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                Ports { first: first.parse().ok()?, last: last.parse().ok()? }
            }
        };
        Some(FrontendId { service, listener: Listener { address, ports, protocol }, ip })
    }
}

/// `masquerade`, `snat/10.0.2.1..10.0.2.8`
impl Word for Source {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_source(*self, "", f)
    }

    fn read(rest: &mut &str) -> Option<Self> {
        read_source(rest, |_| Some(())).map(|(source, ())| source)
    }
}

/// `masquerade4`, `snat4/10.0.2.1`
impl Word for (Source, Ip) {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_source(self.0, &self.1.digit().to_string(), f)
    }

    fn read(rest: &mut &str) -> Option<Self> {
        read_source(rest, Ip::read)
    }
}

/// Replaces characters of addresses that nft 1.0.6 does not accept in a name.
fn write_source(source: Source, between: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match source {
        Source::Masquerade | Source::Auto | Source::Preserve => write!(f, "{source}{between}"),
        Source::Addresses(_, _, ports) => {
            let addresses = source.to_string().replace('-', "..").replace(':', "-");
            write!(f, "{}{between}/{addresses}", snat(ports))
        }
    }
}

fn read_source<T>(rest: &mut &str, between: fn(&mut &str) -> Option<T>) -> Option<(Source, T)> {
    for source in [Source::Masquerade, Source::Auto, Source::Preserve] {
        if literal(rest, &source.to_string()).is_some() {
            return Some((source, between(rest)?));
        }
    }
    let ports =
        [SourcePorts::Keep, SourcePorts::Random].into_iter().find(|it| literal(rest, snat(*it)).is_some())?;
    let between = between(rest)?;
    literal(rest, "/")?;
    let addresses = until_slash(rest);
    let (first, last) = addresses.split_once("..").unwrap_or((addresses, addresses));
    Some((Source::Addresses(address(first)?, address(last)?, ports), between))
}

fn snat(ports: SourcePorts) -> &'static str {
    match ports {
        SourcePorts::Random => "snat",
        SourcePorts::Keep => "snat-keep",
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.replace('-', ":").parse().ok()
}
