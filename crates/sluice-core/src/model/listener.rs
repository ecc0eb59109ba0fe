//! Listeners.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sluice_nft::Protocol;

/// Destination address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// `*`: any local address or, with an interface, any unicast destination.
    Any,
    /// One address.
    Exact(IpAddr),
}

impl Address {
    /// The address; `None` for `*`.
    pub fn exact(self) -> Option<IpAddr> {
        match self {
            Address::Any => None,
            Address::Exact(address) => Some(address),
        }
    }
}

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ports {
    /// First port, at least 1.
    pub first: u16,
    /// Last port, not below `first`.
    pub last: u16,
}

impl Ports {
    /// Every port, written `*`.
    pub const ALL: Ports = Ports { first: 1, last: u16::MAX };

    /// One port.
    pub fn single(port: u16) -> Self {
        Ports { first: port, last: port }
    }

    /// The port, if it is a single one.
    pub fn as_single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// Number of ports.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether the range contains a port.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether two ranges have a common port.
    pub fn overlaps(self, other: Ports) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ports::ALL => f.write_str("*"),
            Ports { first, last } if first == last => write!(f, "{first}"),
            Ports { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Address, protocol and ports of a service: `ADDRESS:PORT[-PORT][/PROTOCOL]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// Destination address.
    pub address: Address,
    /// Destination ports.
    pub ports: Ports,
    /// Transport protocol.
    #[serde(with = "protocol_name")]
    pub protocol: Protocol,
}

/// A protocol in a saved file, as its name.
mod protocol_name {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use sluice_nft::Protocol;

    pub(super) fn serialize<S: Serializer>(protocol: &Protocol, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(protocol.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Protocol, D::Error> {
        let name = String::deserialize(from)?;
        Protocol::from_name(&name).ok_or_else(|| D::Error::custom(format!("unknown protocol {name:?}")))
    }
}

impl Listener {
    /// Address and port, if it has one of each.
    pub fn exact(&self) -> Option<(IpAddr, u16)> {
        self.address.exact().zip(self.ports.as_single())
    }
}

/// As in the file, always with the protocol: `203.0.113.10:80/tcp`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Address::Any => write!(f, "*:{}/{}", self.ports, self.protocol),
            Address::Exact(IpAddr::V4(a)) => write!(f, "{a}:{}/{}", self.ports, self.protocol),
            Address::Exact(IpAddr::V6(a)) => write!(f, "[{a}]:{}/{}", self.ports, self.protocol),
        }
    }
}
