//! Ethernet, IPv4, and UDP or TCP headers around a few bytes.

use super::Datagram;

const ETHERNET: usize = 14;
const IP: usize = 20;
/// The shortest frame that Ethernet has.
const LENGTH: usize = 60;
/// Source of all frames, locally administered.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Bytes of a TCP header that holds the largest segment.
const TCP: usize = 24;

/// One packet on the wire.
pub(super) struct Frame([u8; LENGTH]);

impl Frame {
    pub(super) fn udp(gateway: [u8; 6], datagram: &Datagram) -> Self {
        let length = LENGTH - ETHERNET - IP;
        let mut frame = Frame::ip(gateway, datagram, 17, length);
        let udp = &mut frame.0[ETHERNET + IP..];
        udp[..2].copy_from_slice(&datagram.source.port().to_be_bytes());
        udp[2..4].copy_from_slice(&datagram.destination.port().to_be_bytes());
        // A checksum of 0 says that there is none.
        udp[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        frame
    }

    pub(super) fn syn(gateway: [u8; 6], datagram: &Datagram) -> Self {
        let mut frame = Frame::ip(gateway, datagram, 6, TCP);
        let (head, tcp) = frame.0.split_at_mut(ETHERNET + IP);
        tcp[..2].copy_from_slice(&datagram.source.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&datagram.destination.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&[0, 0, 0, 1]);
        // Words of the header, SYN, a window, and segments of 1,460 bytes.
        tcp[12..16].copy_from_slice(&[(TCP as u8 / 4) << 4, 2, 0xff, 0xff]);
        tcp[20..TCP].copy_from_slice(&[2, 4, 0x05, 0xb4]);
        let pseudo = [&head[ETHERNET + 12..], &[0, 6, 0, TCP as u8], &tcp[..TCP]].concat();
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        frame
    }

    fn ip(gateway: [u8; 6], datagram: &Datagram, protocol: u8, length: usize) -> Self {
        let mut frame = [0; LENGTH];
        let (ethernet, rest) = frame.split_at_mut(ETHERNET);
        let ip = &mut rest[..IP];

        ethernet[..6].copy_from_slice(&gateway);
        ethernet[6..12].copy_from_slice(&SENDER);
        ethernet[12..].copy_from_slice(&[0x08, 0x00]);

        // Version and header length, total length, don't fragment, 64 hops.
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((IP + length) as u16).to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = protocol;
        ip[12..16].copy_from_slice(&datagram.source.ip().octets());
        ip[16..20].copy_from_slice(&datagram.destination.ip().octets());
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        Frame(frame)
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// RFC 1071, of a header whose checksum field is zero.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_header_is_what_makes_its_sum_all_ones() {
        let datagram = Datagram {
            source: "198.18.0.1:1024".parse().unwrap(),
            destination: "100.64.255.254:80".parse().unwrap(),
        };
        let frame = Frame::udp([2, 0, 0, 0, 0, 2], &datagram);
        assert_eq!(checksum(&frame.as_ref()[ETHERNET..ETHERNET + IP]), 0);
    }
}
