//! Virtual packets and the host that they pass.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{Field, Ip, Protocol};

/// The first packet of a flow that conntrack sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it enters the host.
    pub ingress: Ingress,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port; of the same IP version.
    pub destination: SocketAddr,
    /// The flags of a TCP packet, as in [`Field::TcpFlags`]; [`Field::SYN`] begins a connection.
    pub flags: u8,
    /// Name of its output interface after translation; empty: unknown.
    pub leaves: String,
    /// The kernel's random number while the packet is processed.
    pub random: u32,
}

/// Where a packet enters the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ingress {
    /// At the interface with this name.
    Arriving(String),
    /// From a local process.
    Local,
}

impl Packet {
    /// A packet that arrives through interface `eth0`.
    pub fn arriving(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Packet {
            ingress: Ingress::Arriving("eth0".to_owned()),
            ..Packet::local(protocol, source, destination)
        }
    }

    /// A packet of a local process.
    pub fn local(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Packet {
            ingress: Ingress::Local,
            protocol,
            source,
            destination,
            flags: Field::SYN,
            leaves: String::new(),
            random: 0,
        }
    }

    /// The same packet in the middle of a connection that conntrack does not know.
    pub fn midstream(self) -> Self {
        Packet { flags: Field::ACK, ..self }
    }

    /// Its IP version.
    pub fn ip(&self) -> Ip {
        Ip::of(self.destination.ip())
    }

    /// Length in bytes without options and payload.
    pub fn length(&self) -> u64 {
        let network = match self.ip() {
            Ip::V4 => 20,
            Ip::V6 => 40,
        };
        network + self.protocol.header_length()
    }
}

/// Addresses of the host; loopback and multicast addresses need not be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses.
    pub local: BTreeSet<IpAddr>,
    /// Broadcast addresses of its networks.
    pub broadcast: BTreeSet<IpAddr>,
}

impl Host {
    /// The `fib daddr type` of an address (`RTN_*`).
    pub(super) fn address_type(&self, address: IpAddr) -> u32 {
        const UNICAST: u32 = 1;
        if address.is_loopback() || self.local.contains(&address) {
            Field::LOCAL
        } else if address.is_multicast() {
            Field::MULTICAST
        } else if address == Ipv4Addr::BROADCAST || self.broadcast.contains(&address) {
            Field::BROADCAST
        } else {
            UNICAST
        }
    }
}
