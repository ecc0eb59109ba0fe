//! First packets of flows from the clients of a history.

use std::net::SocketAddr;

use sluice_core::model::Protocol;
use sluice_nft::trace::{Ingress, Packet};

use crate::event::Client;

/// Destinations that clients of the histories have.
const DESTINATIONS: [(Protocol, &str); 13] = [
    (Protocol::Tcp, "203.0.113.10:80"),
    (Protocol::Tcp, "203.0.113.10:443"),
    (Protocol::Udp, "203.0.113.10:53"),
    (Protocol::Tcp, "203.0.113.11:80"),
    (Protocol::Udp, "203.0.113.11:53"),
    (Protocol::Tcp, "10.0.2.1:80"),
    (Protocol::Udp, "10.0.2.1:53"),
    (Protocol::Tcp, "203.0.113.10:81"),
    (Protocol::Udp, "203.0.113.11:55"),
    (Protocol::Tcp, "10.0.2.1:82"),
    (Protocol::Tcp, "198.51.102.1:80"),
    (Protocol::Sctp, "203.0.113.10:2905"),
    (Protocol::Sctp, "203.0.113.10:2906"),
];

/// First packets of flows that differ in where they go and come from.
pub fn packets() -> Vec<Packet> {
    let clients = [Client::Outside(1), Client::Outside(66), Client::Beside(2), Client::Local];
    let all = (0..DESTINATIONS.len()).flat_map(|to| clients.map(|client| packet(to, client, 41_000)));
    all.collect()
}

/// The first packet of a flow to one of these from such a client.
pub fn packet(destination: usize, client: Client, port: u16) -> Packet {
    let (protocol, to) = DESTINATIONS[destination % DESTINATIONS.len()];
    let to: SocketAddr = to.parse().expect("an address and port");
    let from = |last: u8| SocketAddr::new([192, 0, 2, last].into(), port + u16::from(last));
    match client {
        Client::Outside(last) => Packet::arriving(protocol, from(last), to),
        Client::Beside(last) => {
            Packet { ingress: Ingress::Arriving("eth1".into()), ..Packet::arriving(protocol, from(last), to) }
        }
        Client::Local => Packet::local(protocol, SocketAddr::new([10, 0, 2, 1].into(), port), to),
    }
}
