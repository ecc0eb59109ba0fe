//! The trace against the kernel: real packets of local clients go where virtual ones go.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use sluice_conformance::{Balancer, run};
use sluice_nft::trace::{Outcome, Packet, Tracer};
use sluice_nft::{Field, Ip, Protocol, Rule, SlotExpr, Statement, Table};

/// Where listeners are: addresses of the namespace that the kernel may masquerade to.
const OUTSIDE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const CLIENTS: u8 = 40;

#[test]
fn udp_clients_reach_the_backend_that_the_trace_says() {
    let hash = |on: &[Field], modulus| SlotExpr::Jhash { on: on.to_vec(), modulus, seed: 0x5105, offset: 3 };
    for (ip, pick) in [
        (Ip::V4, SlotExpr::Inc { modulus: 3, offset: 65_536 }),
        (Ip::V6, SlotExpr::Inc { modulus: 4, offset: 0 }),
        (Ip::V4, hash(&[Field::Saddr(Ip::V4)], 5)),
        (Ip::V4, hash(&[Field::Saddr(Ip::V4), Field::Sport], 16)),
        (Ip::V4, hash(&[Field::Sport], 7)),
        (Ip::V6, hash(&[Field::Saddr(Ip::V6)], 16)),
        (Ip::V6, hash(&[Field::Saddr(Ip::V6), Field::Sport], 13)),
    ] {
        // Each in a namespace without flows that are remembered.
        in_namespace(move || compare(ip, pick));
    }
}

/// Sends a datagram from each of many clients to a service and compares who got it, and from whom it seemed
/// to be, with what the trace says.
fn compare(ip: Ip, pick: SlotExpr) {
    let (local, outside) = match ip {
        Ip::V4 => (IpAddr::from(Ipv4Addr::LOCALHOST), OUTSIDE[0]),
        Ip::V6 => (IpAddr::from(Ipv6Addr::LOCALHOST), OUTSIDE[1]),
    };
    let backends: Vec<_> = (0..pick.range().0).map(|_| UdpSocket::bind((local, 0)).expect("bind")).collect();
    let addresses: Vec<_> = backends.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let listener = SocketAddr::new(outside.parse().expect("an address"), 80);
    let table = Balancer { protocol: Protocol::Udp, listener, pick, backends: addresses }.table();
    load(&table);

    let mut tracer = Tracer::default();
    for n in 1..=CLIENTS {
        let source = SocketAddr::new(client(ip, n), 20_000 + 37 * u16::from(n));
        let socket = UdpSocket::bind(source).unwrap_or_else(|e| panic!("bind {source}: {e}"));
        socket.send_to(b"?", listener).unwrap_or_else(|e| panic!("send from {source}: {e}"));
        let (to, seen) = receive(&backends);
        let real = Outcome::Translated { to, masqueraded: seen.ip() != source.ip() };
        let virtual_packet = Packet::local(Protocol::Udp, source, listener);
        assert_eq!(tracer.trace(&table, &virtual_packet).outcome, real, "from {source}\n{table}");
    }
}

/// Waits for one of the sockets to be sent something: its address and the sender's.
fn receive(sockets: &[UdpSocket]) -> (SocketAddr, SocketAddr) {
    let mut waiting: Vec<_> =
        sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut waiting, PollTimeout::from(5_000_u16)).expect("poll");
    let ready =
        waiting.iter().position(|fd| fd.any() == Some(true)).expect("a backend got it within five seconds");
    let (_, sender) = sockets[ready].recv_from(&mut [0; 8]).expect("receive");
    (sockets[ready].local_addr().expect("bound"), sender)
}

#[test]
fn tcp_clients_are_translated_reset_or_dropped_as_the_trace_says() {
    in_namespace(|| {
        let listener = SocketAddr::new(OUTSIDE[0].parse().expect("an address"), 80);
        let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let backends = vec![backend.local_addr().expect("bound")];
        let pick = SlotExpr::Inc { modulus: 1, offset: 0 };
        let table = Balancer { protocol: Protocol::Tcp, listener, pick, backends: backends.clone() }.table();
        let connect = |table: &Table| {
            load(table);
            let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
            let outcome =
                Tracer::default().trace(table, &Packet::local(Protocol::Tcp, source, listener)).outcome;
            (outcome, TcpStream::connect(listener).map(drop).map_err(|e| e.kind()))
        };
        let translated = Outcome::Translated { to: backends[0], masqueraded: true };
        assert_eq!(connect(&table), (translated, Ok(())));
        let refusing = |statement| {
            let mut table = table.clone();
            table.chains.get_mut(&"pick".into()).expect("it is there").rules = vec![Rule(vec![statement])];
            table
        };
        let refused = Err(ErrorKind::ConnectionRefused);
        assert_eq!(connect(&refusing(Statement::RejectReset)), (Outcome::Reset, refused));
        assert_eq!(connect(&refusing(Statement::RejectPort)), (Outcome::Unreachable, refused));
    });
}

fn client(ip: Ip, n: u8) -> IpAddr {
    match ip {
        Ip::V4 => Ipv4Addr::new(127, 0, 1, n).into(),
        Ip::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into(),
    }
}

/// Replaces the whole ruleset of this namespace.
fn load(table: &Table) {
    run(Command::new("nft").args(["-f", "-"]), &format!("flush ruleset\n{table}"));
}

/// Runs a test in a network namespace of its own, in which loopback is up.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let inside = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, which takes root");
        let addresses: String =
            (1..=CLIENTS).map(|n| format!("addr add {}/128 dev lo nodad\n", client(Ip::V6, n))).collect();
        let [v4, v6] = OUTSIDE;
        let commands =
            format!("link set lo up\naddr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad\n{addresses}");
        run(Command::new("ip").args(["-batch", "-"]), &commands);
        test();
    });
    inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
