//! Values of fields for a packet at a hook, and comparisons with them.

use std::net::{IpAddr, SocketAddr};

use super::Ingress;
use super::packet::{Host, Packet};
use crate::jhash::{jhash, reciprocal_scale};
use crate::{Comparison, Field, Ip, Octets, Protocol};

/// A packet while it passes the hooks.
pub(super) struct View<'a> {
    pub(super) host: &'a Host,
    pub(super) packet: &'a Packet,
    /// The current destination.
    pub(super) destination: SocketAddr,
    /// Whether conntrack tracks it.
    pub(super) tracked: bool,
    /// Whether it is the SYN that synproxy sends on behalf of the client.
    pub(super) proxied: bool,
}

impl View<'_> {
    /// The value of a field, of its width; `None` if the kernel ends the rule.
    pub(super) fn load(&self, field: Field) -> Option<Octets<16>> {
        let original = self.packet.destination;
        match field {
            Field::Saddr(Ip::V4) => self.header(12, 4),
            Field::Daddr(Ip::V4) => self.header(16, 4),
            Field::Saddr(Ip::V6) => self.header(8, 16),
            Field::Daddr(Ip::V6) => self.header(24, 16),
            Field::Sport => Octets::new(&self.packet.source.port().to_be_bytes()),
            Field::Dport => Octets::new(&self.destination.port().to_be_bytes()),
            Field::L4proto => Octets::new(&[self.packet.protocol.number()]),
            Field::Nfproto => Octets::new(&[self.packet.ip().nfproto()]),
            Field::TcpFlags if self.packet.protocol != Protocol::Tcp => Octets::new(&[0]),
            // The host opens the connection.
            Field::TcpFlags if self.proxied => Octets::new(&[Field::SYN]),
            Field::TcpFlags => Octets::new(&[self.packet.flags]),
            Field::Iifname if self.proxied => interface(""),
            Field::Iifname => match &self.packet.ingress {
                Ingress::Arriving(name) => interface(name),
                Ingress::Local => interface(""),
            },
            // Determined by routes, which the trace does not know.
            Field::Oifname => interface(&self.packet.leaves),
            Field::FibDaddrType => Octets::new(&self.host.address_type(self.destination.ip()).to_ne_bytes()),
            Field::FibSaddrType => {
                Octets::new(&self.host.address_type(self.packet.source.ip()).to_ne_bytes())
            }
            Field::CtState => {
                let state = if self.tracked { Field::NEW } else { Field::UNTRACKED };
                Octets::new(&state.to_ne_bytes())
            }
            Field::CtStatus => {
                // Translation to the same address and port does not set the status.
                let status = if self.destination == original { 0 } else { Field::DNAT };
                Octets::new(&status.to_ne_bytes())
            }
            Field::CtOriginalDaddr(ip) => match original.ip() {
                IpAddr::V4(address) if ip == Ip::V4 => Octets::new(&address.octets()),
                IpAddr::V6(address) if ip == Ip::V6 => Octets::new(&address.octets()),
                _ => None,
            },
            Field::CtOriginalDport => Octets::new(&original.port().to_be_bytes()),
        }
    }

    /// `jhash` over fields, in `0..modulus`.
    pub(super) fn hash(&self, on: &[Field], modulus: u32, seed: u32) -> Option<u32> {
        let values: Vec<_> = on.iter().map(|field| self.load(*field)).collect::<Option<_>>()?;
        let bytes = match &values[..] {
            [alone] => alone.as_slice().to_vec(),
            many => many.iter().flat_map(|value| padded(value.as_slice())).collect(),
        };
        Some(reciprocal_scale(jhash(&bytes, seed), modulus))
    }

    /// Bytes of the packet from the start of its IP header. The rule must match the version of the header:
    /// an IPv4 address loaded from an IPv6 packet is a part of another field.
    fn header(&self, offset: usize, length: usize) -> Option<Octets<16>> {
        let mut bytes = match (self.packet.source.ip(), self.destination.ip()) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => [
                &[0x60, 0, 0, 0, 0, 0, self.packet.protocol.number(), 64][..],
                &source.octets(),
                &destination.octets(),
            ]
            .concat(),
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let start = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, self.packet.protocol.number(), 0, 0];
                [&start[..], &source.octets(), &destination.octets()].concat()
            }
            (source, destination) => panic!("no packet goes from {source} to {destination}"),
        };
        bytes.extend(self.packet.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.resize(64, 0);
        Octets::new(&bytes[offset..offset + length])
    }
}

/// The name of an interface, padded as the kernel compares it.
fn interface(name: &str) -> Option<Octets<16>> {
    let mut name = name.as_bytes().to_vec();
    name.resize(16, 0);
    Octets::new(&name)
}

/// Whether a comparison is true.
pub(super) fn holds(loaded: &[u8], comparison: &Comparison) -> bool {
    match comparison {
        Comparison::Eq(value) => loaded == value.as_slice(),
        Comparison::Ne(unwanted) => loaded != unwanted.as_slice(),
        Comparison::NotInPrefix(prefix) => !loaded.starts_with(prefix.as_slice()),
        Comparison::InRange(first, last) => first.as_slice() <= loaded && loaded <= last.as_slice(),
        Comparison::MaskedEq { mask, value } => loaded.first().is_some_and(|byte| byte & mask == *value),
        Comparison::MaskedNe { mask, value } => loaded.first().is_some_and(|byte| byte & mask != *value),
        Comparison::AnyBit(mask) => {
            loaded.try_into().is_ok_and(|bytes| u32::from_ne_bytes(bytes) & mask != 0)
        }
    }
}

fn padded(value: &[u8]) -> impl Iterator<Item = u8> {
    let padding = value.len().next_multiple_of(4) - value.len();
    value.iter().copied().chain(std::iter::repeat_n(0, padding))
}
