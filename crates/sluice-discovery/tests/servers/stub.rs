//! [`Stub`]: a DNS server over UDP whose answers are bytes that a test chooses.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Flag of a truncated answer, in the third byte.
pub const TRUNCATED: u8 = 0x02;
pub const SERVFAIL: u8 = 2;
pub const REFUSED: u8 = 5;

/// Runs until the process ends.
pub struct Stub {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Stub {
    /// Answers each query as `answer` says; `None`: not at all.
    pub fn start(address: SocketAddr, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        std::thread::spawn(move || {
            let mut query = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut query).unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&query[..length]) {
                    socket.send_to(&answer, client).unwrap();
                }
            }
        });
        Stub { address, asked }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of queries.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// An answer with A records.
pub fn reply(query: &[u8], flags: u8, code: u8, addresses: &[&str], ttl: u32) -> Option<Vec<u8>> {
    let record = |address: &&str| {
        let address: Ipv4Addr = address.parse().unwrap();
        // The name of the question, type A, class IN.
        [&[0xc0, 12, 0, 1, 0, 1][..], &ttl.to_be_bytes(), &[0, 4], &address.octets()].concat()
    };
    let records: Vec<_> = addresses.iter().map(record).collect();
    Some([header(query, flags, code, records.len()), question(query), records.concat()].concat())
}

/// Says that the name is an alias of another one: `a` of `b`, `z` of `a`.
pub fn alias_of_another(query: &[u8]) -> Option<Vec<u8>> {
    let question = question(query);
    let mut target = question[..question.len() - 4].to_vec();
    target[1] = if target[1] == b'z' { b'a' } else { target[1] + 1 };
    let record = [&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, target.len() as u8][..], &target].concat();
    Some([header(query, 0, 0, 1), question, record].concat())
}

fn header(query: &[u8], flags: u8, code: u8, answers: usize) -> Vec<u8> {
    let [high, low] = (answers as u16).to_be_bytes();
    vec![query[0], query[1], 0x81 | flags, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0]
}

/// The name, the type and the class.
fn question(query: &[u8]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    query[12..end + 5].to_vec()
}
