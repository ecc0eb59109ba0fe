//! Values that are one word: names, numbers, paths.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value, json};
use sluice_core::model::{BackendName, InterfaceName, InvalidName, MAX_WEIGHT, Source};

use crate::choice::choose;
use crate::problem::{Fault, quoted, quoted_path};
use crate::read::{Leaf, Scalar};
use crate::schema::{either, pattern};

/// Longest path that fits a Unix socket address with its closing NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

impl Leaf for Source {
    const EXPECTED: &'static str = "masquerade, auto, preserve, an address or a range of them";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        if let Scalar::Text(text) = scalar {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            if let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) {
                return addresses(text, first, last);
            }
        }
        choose(scalar, "source", &SOURCES)
    }

    fn schema() -> Value {
        let words = json!({ "enum": SOURCES.map(|(word, _)| word) });
        either(words, pattern(r"^[0-9A-Fa-f:.]+(\s*-\s*[0-9A-Fa-f:.]+)?$", Self::EXPECTED))
    }
}

const SOURCES: [(&str, Source); 3] =
    [("masquerade", Source::Masquerade), ("auto", Source::Auto), ("preserve", Source::Preserve)];

/// Source addresses from one to another, both included.
fn addresses(text: &str, first: IpAddr, last: IpAddr) -> Result<Source, Fault> {
    let bad = |what: &str, fix: &str| Err(Fault::new(format!("{} {what}", quoted(text)), fix));
    let is_unicast = |address: &IpAddr| {
        let broadcast = *address == IpAddr::from([255; 4]);
        !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
    };
    if first.is_ipv4() != last.is_ipv4() {
        bad("is a range from one IP version to the other", "write addresses of one version")
    } else if first > last {
        bad("is a range that ends before it begins", "write the lower address first")
    } else if ![first, last].iter().all(is_unicast) {
        bad("cannot be a source", "write unicast addresses of this host")
    } else {
        Ok(Source::Addresses(first, last))
    }
}

/// Addresses of clients: one, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) IpNet);

impl Leaf for Prefix {
    const EXPECTED: &'static str = "a network such as 198.51.100.0/24, or an address";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "network")?;
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match net {
            Err(_) => {
                let what = format!("{} is no network and no address", quoted(text));
                Err(Fault::new(what, "write one such as 198.51.100.0/24, 2001:db8::/32 or 192.0.2.7"))
            }
            Ok(net) if net.trunc() != net => {
                let what = format!("{} has bits behind its prefix", quoted(text));
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

impl Leaf for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Bool(value) => Ok(value),
            other => Err(Fault::new(
                format!("{other} where true or false belongs"),
                "write true or false, without quotes",
            )),
        }
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

/// The share of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u16);

impl Leaf for Weight {
    const EXPECTED: &'static str = "a whole number from 0 to 256";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let fix = match scalar {
            Scalar::Integer(weight @ 0..=256) => return Ok(Weight(weight as u16)),
            Scalar::Text(text) if text.parse::<u16>().is_ok() => "write it without quotes",
            _ => "a weight is a share: 1 and 3 mean a quarter and three quarters",
        };
        Err(Fault::new(format!("weight {scalar} is not a whole number from 0 to {MAX_WEIGHT}"), fix))
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": MAX_WEIGHT })
    }
}

impl Leaf for InterfaceName {
    const EXPECTED: &'static str = "the name of an interface";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        name(scalar, "interface name", InterfaceName::new)
    }

    fn schema() -> Value {
        pattern(r#"^[^\s/:"*\\]{1,15}$"#, Self::EXPECTED)
    }
}

impl Leaf for BackendName {
    const EXPECTED: &'static str = "a name";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        name(scalar, "backend name", BackendName::new)
    }

    fn schema() -> Value {
        pattern("^[!-.0-~]{1,63}$", "1 to 63 printable ASCII characters, without spaces and /")
    }
}

fn name<T>(scalar: Scalar<'_>, what: &str, new: fn(&str) -> Result<T, InvalidName>) -> Result<T, Fault> {
    let text = text(scalar, what)?;
    new(text)
        .map_err(|error| Fault::new(format!("{} is no {what}: {error}", quoted(text)), "change the name"))
}

/// A group of the system; who is in it is looked up when the socket is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupName(pub(crate) String);

impl Leaf for GroupName {
    const EXPECTED: &'static str = "the name of a group";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "group name")?;
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':' || c == ',')
        {
            let what = format!("{} is no group name", quoted(text));
            return Err(Fault::new(what, "name a group of /etc/group"));
        }
        Ok(GroupName(text.to_owned()))
    }

    fn schema() -> Value {
        pattern(r"^[^\s:,]+$", Self::EXPECTED)
    }
}

/// A path or a pattern of paths, relative to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Leaf for Pattern {
    const EXPECTED: &'static str = "a path or a pattern such as conf.d/*.yaml";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "path")?;
        if text.is_empty() || text.contains(char::is_control) {
            return Err(Fault::new(
                format!("{} is no path", quoted(text)),
                "name files, such as `conf.d/*.yaml`",
            ));
        }
        Ok(Pattern(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// `state`: a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatePath(pub(crate) PathBuf);

impl Leaf for StatePath {
    const EXPECTED: &'static str = "an absolute path of a folder";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        absolute(scalar).map(StatePath)
    }

    fn schema() -> Value {
        pattern("^/", Self::EXPECTED)
    }
}

/// `control.socket`: where the socket is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketPath(pub(crate) PathBuf);

impl Leaf for SocketPath {
    const EXPECTED: &'static str = "an absolute path";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let path = absolute(scalar)?;
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let what = format!("the path has {length} bytes, and a Unix socket takes {MAX_SOCKET_PATH}");
            return Err(Fault::new(what, "choose a shorter one"));
        }
        if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with('/') {
            let what = format!("{} is a folder", quoted_path(&path));
            return Err(Fault::new(what, "name the socket itself, such as /run/sluice/sluice.sock"));
        }
        Ok(SocketPath(path))
    }

    fn schema() -> Value {
        pattern("^/.*[^/]$", Self::EXPECTED)
    }
}

fn absolute(scalar: Scalar<'_>) -> Result<PathBuf, Fault> {
    let text = text(scalar, "path")?;
    if !text.starts_with('/') || text.contains(char::is_control) {
        return Err(Fault::new(format!("{} is not an absolute path", quoted(text)), "start with /"));
    }
    Ok(PathBuf::from(text))
}

/// The text of a scalar. What YAML takes for a number may have been written otherwise (1.10, 0x1f).
pub(crate) fn text<'a>(scalar: Scalar<'a>, what: &str) -> Result<&'a str, Fault> {
    match scalar {
        Scalar::Text(text) => Ok(text),
        Scalar::Bool(_) => Err(Fault::new(format!("{scalar} is no {what} but a truth value"), "quote it")),
        Scalar::Integer(_) | Scalar::Float(_) => {
            Err(Fault::new(format!("{scalar} is no {what} but a number"), "quote it"))
        }
    }
}
