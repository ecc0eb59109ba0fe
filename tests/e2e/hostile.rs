//! Backends that answer probes with as much as they can.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sluice_testkit::{Host, Lab, eventually};
use socket2::{Domain, Protocol, Socket, Type};

use crate::crowd::memory;

const VIP: &str = "203.0.113.10:80";

/// Limit of the daemon's memory growth, in bytes.
const ROOM: u64 = 64 << 20;

/// Packets of a flood between two pauses, so that it leaves some of the machine to others.
const BURST: usize = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// Floods of one backend, until dropped.
#[derive(Default)]
struct Floods {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Floods {
    /// Calls `send` until the end; it sends something, or waits for a moment.
    fn add(&mut self, mut send: impl FnMut() -> bool + Send + 'static) {
        let (ends, sent) = (self.ends.clone(), self.sent.clone());
        self.threads.push(thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    if send() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                thread::sleep(PAUSE);
            }
        }));
    }

    /// A TCP server that answers with a text and then another one for as long as it can.
    fn tcp(&mut self, host: &Host, port: u16, first: &'static [u8], more: &'static [u8]) {
        let address = SocketAddr::new(host.addresses()[0], port);
        let listener = host.run(|| TcpListener::bind(address)).expect("bind");
        listener.set_nonblocking(true).expect("do not block");
        let mut open = vec![];
        self.add(move || {
            if let Ok((mut stream, _)) = listener.accept() {
                stream.set_nonblocking(true).expect("do not block");
                let _ = stream.write_all(first);
                open.push(stream);
            }
            open.retain_mut(|stream| !matches!(stream.read(&mut [0; 1024]), Ok(0)));
            open.iter_mut().any(|stream| stream.write(more).is_ok())
        });
    }

    /// A UDP server that answers one datagram with many.
    fn udp(&mut self, host: &Host, port: u16) {
        let address = SocketAddr::new(host.addresses()[0], port);
        let socket = host.run(|| UdpSocket::bind(address)).expect("bind");
        socket.set_nonblocking(true).expect("do not block");
        let mut peer = None;
        self.add(move || {
            if let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                peer = Some(from);
            }
            peer.is_some_and(|peer| socket.send_to(&[0; 1400], peer).is_ok())
        });
    }

    /// Echo replies that nobody asked for.
    fn icmp(&mut self, host: &Host, to: &str) {
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
        let socket = host.run(open).expect("a raw socket");
        let to: SocketAddr = to.parse().expect("an address");
        socket.connect(&to.into()).expect("connect");
        socket.set_nonblocking(true).expect("do not block");
        // Type 0, with the checksum of zeros.
        let reply = [&[0, 0, 0xff, 0xff][..], &[0; 60]].concat();
        self.add(move || {
            let _ = socket.recv(&mut [MaybeUninit::uninit(); 64]);
            socket.send(&reply).is_ok()
        });
    }
}

impl Drop for Floods {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("no panic"));
    }
}

#[test]
fn backends_that_flood_probes_of_every_kind_are_down_and_keep_no_other_from_being_probed() {
    let lab = Lab::with_backends(4);
    let mut floods = Floods::default();
    let (hostile, good) = (&lab.backends[0], &lab.backends[2..]);
    floods.tcp(hostile, 1, b"HTTP/1.1 200 OK\r\n", &[b'x'; 1400]);
    floods.tcp(hostile, 2, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n");
    // A handshake message of 16 MB.
    floods.tcp(hostile, 3, &[22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff], &[0; 1400]);
    floods.udp(hostile, 4);
    // It answers no real request.
    hostile.set_sysctl("net/ipv4/icmp_echo_ignore_all", "1");
    floods.icmp(hostile, "10.0.2.1:0");
    good.iter().for_each(|backend| backend.serve(8080));

    let times = "interval: 500ms, timeout: 400ms, rise: 1, fall: 2";
    let probed = |name: &str, port: u16, check: &str| {
        format!(
            "  {name}: {{listen: '203.0.113.10:{}', health: {{{check}, {times}}}, backends: ['10.0.2.11:{port}']}}\n",
            1000 + port
        )
    };
    let daemon = lab.start(&format!(
        "services:
{}{}{}{}{}  web: {{listen: '{VIP}', health: {{tcp: {{}}, {times}}}, backends: ['10.0.2.13:8080', '10.0.2.14:8080']}}",
        probed("head", 1, "http: {}"),
        probed("body", 2, "http: {body: ready}"),
        probed("tls", 3, "http: {tls: true}"),
        probed("udp", 4, "udp: {send: ping, expect: pong}"),
        probed("icmp", 5, "icmp: {}"),
    ));
    let before = memory(&daemon);
    let backend = |service: &str, index: usize| {
        let status = lab.sluice(&["status", service, "--json"]).expect(0).json();
        status["services"][0]["backends"][index].clone()
    };
    for service in ["head", "body", "tls", "udp", "icmp"] {
        eventually(&format!("the backend of {service} is down"), || {
            (backend(service, 0)["health"] == "unhealthy").then_some(())
        });
    }
    for index in 0..2 {
        eventually("a good backend is probed", || {
            (backend("web", index)["health"] == "healthy").then_some(())
        });
    }
    good[0].silence();
    eventually("a failure is noticed", || (backend("web", 0)["health"] == "unhealthy").then_some(()));
    assert_eq!(lab.client.tcp(VIP).expect("an answer").backend, "b4");
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more");
    assert!(floods.sent.load(Ordering::Relaxed) > 1000, "the floods are some");
}
