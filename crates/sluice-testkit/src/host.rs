//! A machine of the lab.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use crate::client::{Answer, Conversation, SCTP, TCP, ask_udp};
use crate::segment;
use crate::server::Server;
use crate::{HealthServer, Namespace, Shares, eventually};

/// A machine of the lab: a namespace with a name, its addresses and its servers.
///
/// Addresses of connections are written as text, `203.0.113.10:80` or `[2001:db8::10]:80`.
pub struct Host {
    namespace: Namespace,
    name: Arc<str>,
    addresses: Vec<IpAddr>,
    servers: Mutex<Vec<Server>>,
    /// Source port of the next datagram. Ports that the kernel picks at random are soon used again, by flows that conntrack
    /// still knows; these are lower ones.
    next_port: AtomicU16,
}

impl Host {
    /// A host without servers; `addresses` are on its interfaces, or will be.
    pub fn new(name: &str, namespace: Namespace, addresses: Vec<IpAddr>) -> Self {
        Host { namespace, name: name.into(), addresses, servers: Mutex::default(), next_port: 10_000.into() }
    }

    /// Its name, with which its servers answer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses, IPv4 before IPv6.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Serves TCP and UDP on a port of all its addresses, until it is dropped or [silent](Self::silence).
    pub fn serve(&self, port: u16) {
        for address in &self.addresses {
            self.serve_on(&SocketAddr::new(*address, port).to_string());
        }
    }

    /// Serves TCP and UDP on one address and port.
    pub fn serve_on(&self, address: &str) {
        let server = self.run(|| Server::start(&self.name, parse(address)));
        let server = server.unwrap_or_else(|e| panic!("serve on {address} of {}: {e}", self.name));
        self.servers.lock().expect("no thread panics with it").push(server);
    }

    /// Serves SCTP on one address and port.
    ///
    /// # Panics
    /// If the kernel has no SCTP, for example.
    pub fn serve_sctp_on(&self, address: &str) {
        let server = self.run(|| Server::start_sctp(&self.name, parse(address)));
        let server = server.unwrap_or_else(|e| panic!("serve SCTP on {address} of {}: {e}", self.name));
        self.servers.lock().expect("no thread panics with it").push(server);
    }

    /// Answers probes on a port of its first address.
    pub fn serve_health(&self, port: u16) -> HealthServer {
        let address = SocketAddr::new(self.addresses[0], port);
        let server = self.run(|| HealthServer::start(address));
        server.unwrap_or_else(|e| panic!("serve on {address} of {}: {e}", self.name))
    }

    /// Waits for its links: packets that are sent before a link is up are lost.
    pub fn wait_for_wires(&self) {
        eventually("every interface is up", || {
            let links: serde_json::Value = serde_json::from_str(&self.sh("ip -json link")).expect("JSON");
            let mut wires = links.as_array()?.iter().filter(|link| link["ifname"] != "lo");
            wires.all(|link| link["operstate"] == "UP").then_some(())
        });
    }

    /// Stops all its servers and closes their connections.
    pub fn silence(&self) {
        self.servers.lock().expect("no thread panics with it").clear();
    }

    /// The answer to one TCP connection.
    pub fn tcp(&self, to: &str) -> io::Result<Answer> {
        Ok(self.open(to)?.answer)
    }

    /// The answer to one TCP connection from an address of this host; port 0 is any.
    pub fn tcp_from(&self, from: &str, to: &str) -> io::Result<Answer> {
        Ok(self.open_from(from, to)?.answer)
    }

    /// A TCP connection that stays open.
    pub fn open(&self, to: &str) -> io::Result<Conversation> {
        self.run(|| Conversation::open(TCP, None, parse(to)))
    }

    /// The same, from an address of this host; port 0 is any.
    pub fn open_from(&self, from: &str, to: &str) -> io::Result<Conversation> {
        self.run(|| Conversation::open(TCP, Some(parse(from)), parse(to)))
    }

    /// An SCTP association from an address of this host that stays open; port 0 is any.
    pub fn open_sctp(&self, from: &str, to: &str) -> io::Result<Conversation> {
        self.run(|| Conversation::open(SCTP, Some(parse(from)), parse(to)))
    }

    /// A TCP segment of no connection, with these flags.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn send_segment(&self, from_port: u16, to: &str, flags: u8) {
        self.run(|| segment::send(from_port, parse(to), flags)).expect("send a segment");
    }

    /// The link address of one of its interfaces.
    ///
    /// # Panics
    /// If there is no such interface.
    pub fn link_address(&self, interface: &str) -> [u8; 6] {
        let text = self.sh(&format!("ip -oneline link show {interface}"));
        let address = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
        let octets = address
            .expect("an address")
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
        octets.collect::<Vec<_>>().try_into().expect("six octets")
    }

    /// The answer to one datagram from an unused port.
    pub fn udp(&self, to: &str) -> io::Result<Answer> {
        let to = parse(to);
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        self.run(|| ask_udp(SocketAddr::new(any, port), to))
    }

    /// The answer to one datagram from an address of this host; port 0 is any.
    pub fn udp_from(&self, from: &str, to: &str) -> io::Result<Answer> {
        self.run(|| ask_udp(parse(from), parse(to)))
    }

    /// The answers to `count` TCP connections, one after the other.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn tcp_times(&self, count: u32, to: &str) -> Vec<Answer> {
        self.times(count, |host| host.tcp(to), to)
    }

    /// The answers to `count` datagrams, each from a port of its own.
    ///
    /// # Panics
    /// If one of them gets none.
    pub fn udp_times(&self, count: u32, to: &str) -> Vec<Answer> {
        self.times(count, |host| host.udp(to), to)
    }

    /// Numbers of `count` TCP connections by backend.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn tcp_shares(&self, count: u32, to: &str) -> Shares {
        Shares::of(&self.tcp_times(count, to))
    }

    fn times(&self, count: u32, ask: impl Fn(&Self) -> io::Result<Answer>, to: &str) -> Vec<Answer> {
        let one =
            |n| ask(self).unwrap_or_else(|e| panic!("{} to {to}, number {n} of {count}: {e}", self.name));
        (1..=count).map(one).collect()
    }
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|e| panic!("{address}: {e}"))
}
