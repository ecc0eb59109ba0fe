//! TCP segments outside of a connection.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Sends a TCP segment without data, with these flags, from the namespace of the calling thread.
pub(crate) fn send(from_port: u16, to: SocketAddr, flags: u8) -> io::Result<()> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    // A connected UDP socket tells the source address, without sending.
    let route = UdpSocket::bind(any)?;
    route.connect(to)?;
    let mut segment =
        [&from_port.to_be_bytes()[..], &to.port().to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
    segment.extend([5 << 4, flags, 1, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&pseudo_header(route.local_addr()?.ip(), to.ip(), &segment)[..], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::TCP))?;
    socket.send_to(&segment, &SocketAddr::new(to.ip(), 0).into()).map(drop)
}

/// The pseudo-header of the checksum (RFC 9293, 3.1).
fn pseudo_header(from: IpAddr, to: IpAddr, segment: &[u8]) -> Vec<u8> {
    let length = (segment.len() as u32).to_be_bytes();
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [octets(from), octets(to), length.to_vec(), vec![0, 0, 0, 6]].concat()
}

/// The Internet checksum of an even number of bytes (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}
