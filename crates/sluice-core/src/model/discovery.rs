//! Backends from elsewhere: host names, SRV records and files.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sluice_nft::Ip;

use super::{BackendName, BackendPort};

/// How names are resolved, and for how long backends stay that an answer no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// DNS servers; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Timeout of one query to one server.
    pub timeout: Duration,
    /// Least time between two queries for a name, whatever the TTL of the answer.
    pub min_ttl: Duration,
    /// Longest time between two queries for a name.
    pub max_ttl: Duration,
    /// Time for which a backend stays that the answers no longer have, and for which an empty answer is an error.
    pub hold: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let [timeout, min_ttl, max_ttl, hold] = [1, 1, 300, 30].map(seconds);
        Resolver { servers: vec![], timeout, min_ttl, max_ttl, hold }
    }
}

/// A question that is asked again and again. Sources with equal ones share the answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lookup {
    /// The addresses of a host: A or AAAA records.
    Host(HostName, Ip),
    /// SRV records, and addresses of an IP version of their targets.
    Srv(HostName, Ip),
    /// Files whose path matches a pattern; each has a list of backends.
    Files(PathBuf),
}

/// A host name or a name of SRV records, as in the file: without a final dot it is subject to the search domains.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(std::sync::Arc<str>);

/// A good answer. The order has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it contains; each address and port once.
    pub found: Vec<Found>,
}

/// A backend in an answer. What it leaves out follows from the source in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Address.
    pub address: IpAddr,
    /// Port; of SRV records and files.
    pub port: Option<BackendPort>,
    /// Name; of files.
    pub name: Option<BackendName>,
    /// Weight; of SRV records, scaled to those of backends, and of files.
    pub weight: Option<u16>,
    /// Whether it is a backup; of SRV records with a priority that is not the lowest, and of files.
    pub backup: Option<bool>,
    /// Maximum number of live connections; of files.
    pub max_connections: Option<u32>,
}

impl HostName {
    /// Validates a name: labels of 1 to 63 letters, digits, `-` and `_`, at most 253 characters; a final dot may follow.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        let is_known = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        if labels.is_empty() || labels.len() > 253 {
            return Err("a host name has 1 to 253 characters");
        }
        if labels.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err("the labels of a host name have 1 to 63 characters");
        }
        if !labels.split('.').all(|label| label.bytes().all(is_known)) {
            return Err("a host name has only letters, digits, '-', '_' and '.'");
        }
        Ok(HostName(text.to_ascii_lowercase().into()))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The record and its name, or the pattern: `A web.example`, `SRV _http._tcp.web.example (AAAA)`, `/run/web.d/*.yaml`.
impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lookup::Host(name, Ip::V4) => write!(f, "A {name}"),
            Lookup::Host(name, Ip::V6) => write!(f, "AAAA {name}"),
            Lookup::Srv(name, Ip::V4) => write!(f, "SRV {name} (A)"),
            Lookup::Srv(name, Ip::V6) => write!(f, "SRV {name} (AAAA)"),
            Lookup::Files(pattern) => write!(f, "{}", pattern.display()),
        }
    }
}
