//! One entry of conntrack.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sluice_nft::Protocol;

use super::state::ConnectionState;
use super::wire::{self, IPS_DST_NAT, IPS_SEEN_REPLY};
use crate::attr::Attributes;
use crate::message;

/// A flow, as conntrack has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source of the first packet.
    pub client: SocketAddr,
    /// Destination of the first packet, before translation.
    pub to: SocketAddr,
    /// Source of the answers.
    pub backend: SocketAddr,
    /// Destination of the replies: the client, or the address to which its source is translated.
    pub back_to: SocketAddr,
    /// `IPS_*` of the kernel.
    pub status: u32,
    /// How far the connection is, for protocols that have connections.
    pub connection: Option<ConnectionState>,
    /// Identity of the flow among all flows with the same addresses and ports.
    pub id: u32,
    /// Its zone.
    pub zone: u16,
    /// Seconds until it is forgotten, if no packet comes.
    pub expires: u32,
    /// Bytes of the flow; `None` if `net.netfilter.nf_conntrack_acct` was off when it began.
    pub bytes: Option<Bytes>,
}

/// Bytes of a flow, with IP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// From the client.
    pub incoming: u64,
    /// To the client.
    pub outgoing: u64,
}

impl Flow {
    /// Whether its destination was translated.
    pub fn is_translated(&self) -> bool {
        self.status & IPS_DST_NAT != 0
    }

    /// Whether its ends may still use it.
    pub fn is_active(&self) -> bool {
        self.connection.is_none_or(|state| state.is_active(self.is_replied()))
    }

    /// Whether it is a connection that no backend has answered yet.
    pub fn is_opening(&self) -> bool {
        self.connection.is_some_and(|state| state.is_opening(self.is_replied()))
    }

    /// All values of [`state`](Self::state), sorted.
    pub fn states() -> Vec<&'static str> {
        let names = ConnectionState::names().chain(["replied", "unreplied"]);
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How far it is: the state of the connection as conntrack names it, in lower case with hyphens; else `unreplied` or
    /// `replied`.
    pub fn state(&self) -> &'static str {
        match self.connection {
            Some(state) => state.as_str(),
            None if self.is_replied() => "replied",
            None => "unreplied",
        }
    }

    fn is_replied(&self) -> bool {
        self.status & IPS_SEEN_REPLY != 0
    }

    /// Reads a message; `None` for protocols that no listener has.
    pub(crate) fn parse(answer: &[u8]) -> Option<Self> {
        let attributes = message::attributes(answer);
        let (protocol, client, to) = tuple(attributes.nested(wire::TUPLE_ORIG)?)?;
        let (_, backend, back_to) = tuple(attributes.nested(wire::TUPLE_REPLY)?)?;
        let bytes = |side| attributes.nested(side)?.find(wire::COUNTERS_BYTES)?.u64();
        let bytes = || {
            let (incoming, outgoing) = (bytes(wire::COUNTERS_ORIG)?, bytes(wire::COUNTERS_REPLY)?);
            Some(Bytes { incoming, outgoing })
        };
        Some(Flow {
            protocol,
            client,
            to,
            backend,
            back_to,
            status: attributes.u32(wire::STATUS)?,
            connection: attributes
                .nested(wire::PROTOINFO)
                .and_then(|info| ConnectionState::of(protocol, info)),
            id: attributes.u32(wire::ID)?,
            zone: attributes.bytes(wire::ZONE).and_then(number).unwrap_or(0),
            // The last event of a flow has no timeout.
            expires: attributes.u32(wire::TIMEOUT).unwrap_or(0),
            bytes: bytes(),
        })
    }
}

/// Protocol, source and destination.
fn tuple(tuple: Attributes<'_>) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let (ip, ports) = (tuple.nested(wire::TUPLE_IP)?, tuple.nested(wire::TUPLE_PROTO)?);
    let address = |v4, v6| -> Option<IpAddr> {
        match ip.bytes(v4) {
            Some(bytes) => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            None => <[u8; 16]>::try_from(ip.bytes(v6)?).ok().map(IpAddr::from),
        }
    };
    let source =
        SocketAddr::new(address(wire::V4_SRC, wire::V6_SRC)?, ports.bytes(wire::SRC_PORT).and_then(number)?);
    let destination =
        SocketAddr::new(address(wire::V4_DST, wire::V6_DST)?, ports.bytes(wire::DST_PORT).and_then(number)?);
    let protocol = Protocol::from_number(*ports.bytes(wire::PROTO_NUM)?.first()?)?;
    Some((protocol, source, destination))
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}
