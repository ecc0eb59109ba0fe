//! Ethernet, IPv4 and UDP headers around a few bytes.

use super::Datagram;

const ETHERNET: usize = 14;
const IP: usize = 20;
/// The shortest frame that Ethernet has.
const LENGTH: usize = 60;
/// Source of all frames, locally administered.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// One datagram on the wire.
pub(super) struct Frame([u8; LENGTH]);

impl Frame {
    pub(super) fn new(gateway: [u8; 6], datagram: &Datagram) -> Self {
        let mut frame = [0; LENGTH];
        let (ethernet, rest) = frame.split_at_mut(ETHERNET);
        let (ip, udp) = rest.split_at_mut(IP);

        ethernet[..6].copy_from_slice(&gateway);
        ethernet[6..12].copy_from_slice(&SENDER);
        ethernet[12..].copy_from_slice(&[0x08, 0x00]);

        // Version and header length, total length, don't fragment, 64 hops, UDP.
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((LENGTH - ETHERNET) as u16).to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = 17;
        ip[12..16].copy_from_slice(&datagram.source.ip().octets());
        ip[16..20].copy_from_slice(&datagram.destination.ip().octets());
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        udp[..2].copy_from_slice(&datagram.source.port().to_be_bytes());
        udp[2..4].copy_from_slice(&datagram.destination.port().to_be_bytes());
        // A checksum of 0 says that there is none.
        udp[4..6].copy_from_slice(&((LENGTH - ETHERNET - IP) as u16).to_be_bytes());
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
        let frame = Frame::new([2, 0, 0, 0, 0, 2], &datagram);
        assert_eq!(checksum(&frame.as_ref()[ETHERNET..ETHERNET + IP]), 0);
    }
}
