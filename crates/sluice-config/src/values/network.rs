//! Networks of clients, and source addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use sluice_core::model::{Source, SourcePorts};

use super::keyword::parse_keyword;
use super::text;
use crate::problem::{Fault, quoted};
use crate::read::{Leaf, Scalar};
use crate::schema::{either, pattern};

impl Leaf for Source {
    const EXPECTED: &'static str = "masquerade, auto, preserve, an address or a range of them";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        if let Scalar::Text(text) = scalar {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            if let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) {
                return addresses(text, first, last);
            }
        }
        parse_keyword(scalar, "source", &SOURCES)
    }

    fn schema() -> Value {
        let words = json!({ "enum": SOURCES.map(|(word, _)| word) });
        either(words, pattern(r"^[0-9A-Fa-f:.]+(\s*-\s*[0-9A-Fa-f:.]+)?$", Self::EXPECTED))
    }
}

const SOURCES: [(&str, Source); 3] =
    [("masquerade", Source::Masquerade), ("auto", Source::Auto), ("preserve", Source::Preserve)];

/// A range of source addresses, both ends included.
fn addresses(text: &str, first: IpAddr, last: IpAddr) -> Result<Source, Fault> {
    let bad =
        |what: &str, fix: &str| Err(Fault::new(format!("invalid source {}: {what}", quoted(text)), fix));
    let is_unicast = |address: &IpAddr| {
        let broadcast = *address == IpAddr::from([255; 4]);
        !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
    };
    if first.is_ipv4() != last.is_ipv4() {
        bad("the addresses have different IP versions", "write addresses of one version")
    } else if first > last {
        bad("the first address is larger than the last", "write the lower address first")
    } else if ![first, last].iter().all(is_unicast) {
        bad("not a unicast address", "write unicast addresses of this host")
    } else {
        // `source_ports` is a key of its own.
        Ok(Source::Addresses(first, last, SourcePorts::default()))
    }
}

/// A network of clients, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) IpNet);

impl Leaf for Prefix {
    const EXPECTED: &'static str = "a network such as 198.51.100.0/24, or an address";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "network")?;
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match net {
            Err(_) => {
                let what = format!("invalid network {}", quoted(text));
                let fix =
                    "write a network or an address, such as 198.51.100.0/24, 2001:db8::/32 or 192.0.2.7";
                Err(Fault::new(what, fix))
            }
            Ok(net) if net.trunc() != net => {
                let what = format!("{} has host bits set", quoted(text));
                Err(Fault::new(
                    what,
                    format!("write {}, or {} for the address alone", net.trunc(), net.addr()),
                ))
            }
            Ok(net) => Ok(Prefix(net)),
        }
    }

    fn schema() -> Value {
        pattern(r"^[0-9A-Fa-f:.]+(/[0-9]+)?$", Self::EXPECTED)
    }
}
