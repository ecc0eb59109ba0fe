//! Words of probes: what is asked for, and which answers are good.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::problem::{Fault, quoted};
use crate::read::{Leaf, Scalar, unknown};
use crate::schema::{either, pattern};
use crate::word::text;

/// Most bytes of a UDP datagram over IPv4.
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
            "write other characters as % and two digits, such as %20"
        } else if text.contains('#') {
            "leave out the # and what follows"
        } else {
            return Ok(HttpPath(text.to_owned()));
        };
        Err(Fault::new(format!("{} is no path of a URL", quoted(text)), fix))
    }

    fn schema() -> Value {
        pattern(r##"^/[!-"$-~]*$"##, Self::EXPECTED)
    }
}

/// The name or the address of a web site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) String);

impl Leaf for Host {
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
            return Ok(Host(text.to_owned()));
        }
        let fix = match text.split_once(':') {
            Some((host, _)) if name(host) && !host.starts_with("http") => "leave the port out",
            _ => "write a name, such as example.org",
        };
        Err(Fault::new(format!("{} is no name of a host", quoted(text)), fix))
    }

    fn schema() -> Value {
        pattern("^[0-9A-Za-z._:-]+$", Self::EXPECTED)
    }
}

/// Status codes from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes(pub(crate) u16, pub(crate) u16);

impl Leaf for Codes {
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
            Some((first, last)) if first <= last => Ok(Codes(first, last)),
            Some((first, last)) => {
                let what = format!("the range {first}-{last} runs backwards");
                Err(Fault::new(what, format!("write {last}-{first}")))
            }
            None => {
                let fix = "write numbers from 100 to 599, such as 204 or 200-399";
                Err(Fault::new(format!("{scalar} is no status of an answer"), fix))
            }
        }
    }

    fn schema() -> Value {
        let number = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        either(number, pattern("^[1-5][0-9]{2}(-[1-5][0-9]{2})?$", Self::EXPECTED))
    }
}

/// What must be in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needle(pub(crate) String);

impl Leaf for Needle {
    const EXPECTED: &'static str = "text";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match text(scalar, "text")? {
            "" => Err(Fault::new("every answer holds an empty text", "write some text, or remove the key")),
            text => Ok(Needle(text.to_owned())),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// What a datagram holds, or begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Leaf for Text {
    const EXPECTED: &'static str = "text";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "text")?;
        if text.len() > MAX_DATAGRAM {
            let what = format!("the text has {} bytes, and a datagram holds {MAX_DATAGRAM}", text.len());
            return Err(Fault::new(what, "write less"));
        }
        Ok(Text(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": MAX_DATAGRAM })
    }
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) String);

impl Leaf for Word {
    const EXPECTED: &'static str = "a word";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "word")?;
        if text.contains('\0') {
            return Err(Fault::new("a word with a NUL, which ends words", "remove it"));
        }
        // What is no name between braces is left to the program, JSON for one.
        let names = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphabetic() || c == b'_');
        const KNOWN: &[&str] = &["address", "port", "service", "backend"];
        match names.filter(is_name).find(|name| !KNOWN.contains(name)) {
            None => Ok(Word(text.to_owned())),
            Some(name) => Err(unknown("placeholder", name, KNOWN)),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}
