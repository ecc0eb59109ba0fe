//! Transport protocols.

use std::fmt;

/// A transport protocol with ports, which listeners have and rules match (`meta l4proto`).
///
/// All differences between protocols are methods here, so that a new variant is described in this file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default of a listener without a suffix.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them, in the order of documentation and messages.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// nft's keyword, and the suffix of a listener.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The protocol with this IP protocol number.
    pub fn from_number(number: u8) -> Option<Self> {
        Protocol::ALL.into_iter().find(|known| known.number() == number)
    }

    /// The protocol with this name, as from [`Protocol::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Protocol::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Length in bytes of its header, without options; of SCTP without chunks.
    pub fn header_length(self) -> u64 {
        match self {
            Protocol::Tcp => 20,
            Protocol::Udp => 8,
            Protocol::Sctp => 12,
        }
    }

    /// Whether both ends keep state, so that an established flow is worth nothing to another backend. A flow without
    /// may be given to another backend at any packet.
    pub fn has_connections(self) -> bool {
        match self {
            Protocol::Tcp | Protocol::Sctp => true,
            Protocol::Udp => false,
        }
    }

    /// Whether `reject with tcp reset` ends a flow. An ABORT of SCTP takes the verification tag of the association, which
    /// no statement of nftables knows.
    pub fn has_reset(self) -> bool {
        match self {
            Protocol::Tcp => true,
            Protocol::Udp | Protocol::Sctp => false,
        }
    }

    /// Whether the kernel can complete handshakes in the place of a backend (`synproxy`).
    pub fn has_synproxy(self) -> bool {
        match self {
            Protocol::Tcp => true,
            Protocol::Udp | Protocol::Sctp => false,
        }
    }

    /// Whether conntrack takes a packet in the middle of a connection for the first of a flow, and its header tells
    /// (`nf_conntrack_tcp_loose`). Of SCTP it takes only chunks that begin an association or ask for a path
    /// (`sctp_new()` in net/netfilter/nf_conntrack_proto_sctp.c).
    pub fn has_midstream(self) -> bool {
        match self {
            Protocol::Tcp => true,
            Protocol::Udp | Protocol::Sctp => false,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_is_found_by_its_number_and_by_its_name() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_number(protocol.number()), Some(protocol));
            assert_eq!(Protocol::from_name(protocol.as_str()), Some(protocol));
        }
        assert_eq!((Protocol::from_number(1), Protocol::from_name("TCP")), (None, None));
    }
}
