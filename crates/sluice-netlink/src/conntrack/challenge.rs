//! Sends packets that the ends of a TCP connection must answer (challenges).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use sluice_nft::Protocol;

use super::Flow;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Length of a TCP header without options.
const HEADER: usize = 20;

/// Raw sockets of the IP versions in use. With the protocol `IPPROTO_RAW` the sender writes the IP header.
pub(super) struct ChallengeSender {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl ChallengeSender {
    /// Opens the sockets that these flows need.
    pub(super) fn open(flows: &[Flow]) -> io::Result<Self> {
        let open = |family| {
            socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, SockProtocol::Raw)
        };
        let any = |is_it: fn(&IpAddr) -> bool| flows.iter().any(|flow| is_it(&flow.to.ip()));
        let v4 = any(IpAddr::is_ipv4).then(|| open(AddressFamily::Inet)).transpose()?;
        let v6 = any(IpAddr::is_ipv6).then(|| open(AddressFamily::Inet6)).transpose()?;
        Ok(ChallengeSender { v4, v6 })
    }

    /// Sends each end a packet that it must answer with the sequence number it expects. Conntrack translates both
    /// packets and does not change the state of the flow. Returns the first error, after all were tried.
    pub(super) fn send_challenges(&self, flows: &[Flow]) -> io::Result<()> {
        let packets = flows
            .iter()
            .flat_map(|flow| [(flow.backend, flow.back_to, SYN | ACK), (flow.client, flow.to, SYN)]);
        let mut first = Ok(());
        for (from, to, flags) in packets {
            first = first.and(self.send(from, to, flags));
        }
        first
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, flags: u8) -> io::Result<()> {
        let Some(socket) = (if to.is_ipv4() { &self.v4 } else { &self.v6 }) else { return Ok(()) };
        // For raw sockets the port is the protocol.
        let address = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        sendto(socket.as_raw_fd(), &packet(from, to, flags), &address, MsgFlags::empty())?;
        Ok(())
    }
}

/// An IP packet. The kernel writes length and checksum of an IPv4 header (raw(7)).
fn packet(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let mut tcp = [0; HEADER];
    tcp[..2].copy_from_slice(&from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[12] = (HEADER as u8 / 4) << 4;
    tcp[13] = flags;
    let addresses = [octets(from.ip()), octets(to.ip())].concat();
    let protocol = Protocol::Tcp.number();
    let pseudo = [0, protocol, 0, HEADER as u8];
    let sum = checksum(&[&addresses[..], &pseudo, &tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let ip = match to {
        SocketAddr::V4(_) => [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0].to_vec(),
        SocketAddr::V6(_) => vec![0x60, 0, 0, 0, 0, HEADER as u8, protocol, 64],
    };
    [&ip, &addresses, &tcp[..]].concat()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
