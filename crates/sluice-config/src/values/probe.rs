//! Values of probes: what is sent, and which responses are expected.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::text;
use crate::problem::{Fault, quoted};
use crate::read::{Leaf, Scalar, unknown};
use crate::schema::{either, pattern};

/// Maximum payload of a UDP datagram over IPv4, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Path and query of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpPath(pub(crate) String);

impl Leaf for HttpPath {
    const EXPECTED: &'static str = "a path such as /healthz";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "path")?;
        let fix = if !text.starts_with('/') {
            "start with /"
        } else if !text.bytes().all(|c| c.is_ascii_graphic()) {
            "percent-encode other characters, such as %20"
        } else if text.contains('#') {
            "remove the # and what follows"
        } else {
            return Ok(HttpPath(text.to_owned()));
        };
        Err(Fault::new(format!("invalid URL path {}", quoted(text)), fix))
    }

    fn schema() -> Value {
        pattern(r##"^/[!-"$-~]*$"##, Self::EXPECTED)
    }
}

/// A host name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpHost(pub(crate) String);

impl Leaf for HttpHost {
    const EXPECTED: &'static str = "a name such as example.org";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "host")?;
        let name = |text: &str| {
            (1..=253).contains(&text.len())
                && text.split('.').all(|label| {
                    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
                    (1..=63).contains(&label.len()) && label.bytes().all(plain)
                })
        };
        if text.parse::<IpAddr>().is_ok() || name(text) {
            return Ok(HttpHost(text.to_owned()));
        }
        let fix = match text.split_once(':') {
            Some((host, _)) if name(host) && !host.starts_with("http") => "remove the port",
            _ => "write a name, such as example.org",
        };
        Err(Fault::new(format!("invalid host name {}", quoted(text)), fix))
    }

    fn schema() -> Value {
        pattern("^[0-9A-Za-z._:-]+$", Self::EXPECTED)
    }
}

/// A range of status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusRange(pub(crate) u16, pub(crate) u16);

impl Leaf for StatusRange {
    const EXPECTED: &'static str = "a status such as 200 or a range such as 200-399";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let code =
            |text: &str| text.parse().ok().filter(|code| text.len() == 3 && (100..=599).contains(code));
        let range = match scalar {
            Scalar::Integer(code @ 100..=599) => Some((code as u16, code as u16)),
            Scalar::Text(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                code(first).zip(code(last))
            }
            _ => None,
        };
        match range {
            Some((first, last)) if first <= last => Ok(StatusRange(first, last)),
            Some((first, last)) => {
                let what =
                    format!("invalid status range {first}-{last}: the first status is larger than the last");
                Err(Fault::new(what, format!("write {last}-{first}")))
            }
            None => {
                let fix = "write numbers from 100 to 599, such as 204 or 200-399";
                Err(Fault::new(format!("invalid status {scalar}"), fix))
            }
        }
    }

    fn schema() -> Value {
        let number = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        either(number, pattern("^[1-5][0-9]{2}(-[1-5][0-9]{2})?$", Self::EXPECTED))
    }
}

/// Text that a response must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyText(pub(crate) String);

impl Leaf for BodyText {
    const EXPECTED: &'static str = "text";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match text(scalar, "text")? {
            "" => Err(Fault::new("the text is empty", "write some text, or remove the key")),
            text => Ok(BodyText(text.to_owned())),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// The payload of a datagram, or the prefix of the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatagramText(pub(crate) String);

impl Leaf for DatagramText {
    const EXPECTED: &'static str = "text";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "text")?;
        if text.len() > MAX_DATAGRAM {
            let what = format!("the text has {} bytes; a datagram holds at most {MAX_DATAGRAM}", text.len());
            return Err(Fault::new(what, "shorten the text"));
        }
        Ok(DatagramText(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": MAX_DATAGRAM })
    }
}

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument(pub(crate) String);

impl Leaf for Argument {
    const EXPECTED: &'static str = "a word";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "word")?;
        if text.contains('\0') {
            return Err(Fault::new("the argument contains a NUL byte", "remove it"));
        }
        // Other text in braces, for example JSON, is passed to the program.
        let names = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphabetic() || c == b'_');
        const KNOWN: &[&str] = &["address", "port", "service", "backend"];
        match names.filter(is_name).find(|name| !KNOWN.contains(name)) {
            None => Ok(Argument(text.to_owned())),
            Some(name) => Err(unknown("placeholder", name, KNOWN)),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}
