//! `icmp` probe: an echo request must be answered.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::outcome::{Context, ProbeError};

pub(super) async fn attempt(address: IpAddr) -> Result<String, ProbeError> {
    let what = || format!("ping {address}");
    let socket = open(address).context(what)?;
    socket.connect(&SocketAddr::new(address, 0).into()).context(what)?;
    // Tokio has no raw socket; its UDP socket sends and receives datagrams of any socket.
    let socket = UdpSocket::from_std(OwnedFd::from(socket).into()).context(what)?;
    let nonce = [RandomState::new().hash_one(address), RandomState::new().hash_one(address)];
    // Identifies the reply: the kernel sets the identifier of unprivileged sockets.
    let nonce: Vec<u8> = nonce.into_iter().flat_map(u64::to_ne_bytes).collect();
    socket.send(&request(address, &nonce)).await.context(what)?;
    let answered = if address.is_ipv4() { 0 } else { 129 };
    loop {
        let mut packet = [0; 256];
        let length = socket.recv(&mut packet).await.context(what)?;
        let packet = &packet[..length];
        // A raw IPv4 socket receives the IP header, too.
        let headers = if packet.first().is_some_and(|first| address.is_ipv4() && first >> 4 == 4) {
            usize::from(packet[0] & 0xf) * 4
        } else {
            0
        };
        let message = packet.get(headers..).unwrap_or_default();
        if message.first() == Some(&answered) && message.ends_with(&nonce) {
            return Ok(format!("{}: answered", what()));
        }
    }
}

/// An unprivileged ping socket if `net.ipv4.ping_group_range` permits it, otherwise a raw socket.
fn open(address: IpAddr) -> std::io::Result<Socket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let open = |kind: Type| Socket::new(domain, kind.nonblocking(), Some(protocol));
    open(Type::DGRAM).or_else(|_| open(Type::RAW))
}

/// RFC 792, RFC 4443. The kernel fills in the checksum of ICMPv6.
fn request(address: IpAddr, nonce: &[u8]) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut message = [&[kind, 0, 0, 0, nonce[0], nonce[1], 0, 1], nonce].concat();
    if address.is_ipv4() {
        let words = message.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}
