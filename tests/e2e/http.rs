//! The status page with many and with slow clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sluice_testkit::{Host, Lab, eventually};
use socket2::{Domain, Socket, Type};

use crate::crowd::{Turn, assert_it_works, files, memory};

const HTTP: &str = "10.0.1.1:9180";
const HTTP6: &str = "[fd00:1::1]:9180";

/// Number of connections of a crowd.
const CROWD: usize = 10_000;

/// Maximum time of a response to another client meanwhile.
const WAIT: Duration = Duration::from_secs(5);

/// Limit of the daemon's memory growth because of a crowd, in bytes.
const ROOM: u64 = 64 << 20;

fn config(more: &str) -> String {
    listening(HTTP, more)
}

fn listening(http: &str, more: &str) -> String {
    format!(
        "http: {{listen: '{http}'}}
services:
  web:
    listen: 203.0.113.10:80
    health: {{tcp: {{}}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}}
    backends: [10.0.2.11:8080, 10.0.2.12:8080{more}]
"
    )
}

/// Connects from one address of a host, and sends a text, if any.
fn connect(from: &str, says: &str) -> TcpStream {
    let from: IpAddr = from.parse().expect("an address");
    let to = if from.is_ipv4() { HTTP } else { HTTP6 };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(from, 0)), Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("bind");
    socket.connect(&to.parse::<SocketAddr>().expect("an address").into()).expect("connect");
    let mut stream = TcpStream::from(socket);
    // A rejected client cannot send.
    let _ = stream.write_all(says.as_bytes());
    stream
}

/// Ten thousand connections, from these addresses in turn, open as long as the daemon permits.
struct Crowd {
    _connections: Vec<TcpStream>,
    _turn: Turn,
}

impl Crowd {
    fn gather(client: &Host, addresses: &[&str], says: &[&str]) -> Self {
        let turn = Turn::take();
        let one = |n| connect(addresses[n % addresses.len()], says[n % says.len()]);
        Crowd { _connections: client.run(|| (0..CROWD).map(one).collect()), _turn: turn }
    }
}

/// Whether a client at an address gets a response in time.
fn is_answered(host: &Host, from: &str) -> bool {
    let began = Instant::now();
    let mut stream =
        host.run(|| connect(from, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    stream.set_read_timeout(Some(WAIT)).expect("set a timeout");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200 ") && began.elapsed() < WAIT
}

#[test]
fn crowd_at_one_address_keeps_nobody_else_waiting() {
    let lab = Lab::new();
    let mut daemon = lab.start(&config(""));
    assert!(is_answered(&lab.backends[0], "10.0.2.11"));
    let before = memory(&daemon);
    let address = lab.client.addresses()[0].to_string();
    let says = ["", "GET /healthz HTTP/1.1\r\nx: ", "GET /api/v1/live HTTP/1.1\r\nhost: x\r\n\r\n"];
    let _crowd = Crowd::gather(&lab.client, &[&address], &says);
    assert!(files(&daemon) < 400, "{} files", files(&daemon));
    for _ in 0..10 {
        assert!(is_answered(&lab.backends[0], "10.0.2.11"));
    }
    daemon.reload(&config(", 10.0.2.13:8080"));
    assert_it_works(&lab);
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more");
}

#[test]
fn crowd_at_many_addresses_stops_neither_health_nor_reloads_and_passes() {
    let lab = Lab::new();
    let mut daemon = lab.start(&config(""));
    let addresses: Vec<String> = (100..120).map(|n| format!("198.51.100.{n}")).collect();
    let device = lab.client.sh("ip -oneline -4 route get 10.0.1.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/'");
    for address in &addresses {
        lab.client.sh(&format!("ip address add {address}/32 dev {}", device.trim()));
    }
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let before = memory(&daemon);
    // They request much data, and read nothing.
    let much = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let live = "GET /api/v1/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let crowd = Crowd::gather(&lab.client, &addresses, &["", "GET / HTTP/1.1\r\n", live, &much]);
    assert!(files(&daemon) < 1200, "{} files", files(&daemon));
    daemon.reload(&config(", 10.0.2.13:8080"));
    assert_it_works(&lab);
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more");
    drop(crowd);
    eventually("there is room again", || is_answered(&lab.backends[0], "10.0.2.11").then_some(()));
}

#[test]
fn crowd_at_all_addresses_of_a_64_keeps_nobody_else_waiting() {
    let lab = Lab::new();
    let daemon = lab.start(&listening(HTTP6, ""));
    let addresses: Vec<String> = (1..=1000).map(|n| format!("2001:db8:c::{n:x}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let _crowd =
        Crowd::gather(&lab.client, &addresses, &["", "GET /api/v1/live HTTP/1.1\r\nhost: x\r\n\r\n"]);
    assert!(files(&daemon) < 400, "{} files", files(&daemon));
    assert!(!is_answered(&lab.client, "2001:db8:c::ffff:1"), "another address of them");
    for _ in 0..10 {
        assert!(is_answered(&lab.backends[0], "fd00:2::11"));
    }
}

#[test]
fn peer_that_takes_for_ever_to_ask_is_given_up() {
    let lab = Lab::new();
    let _daemon = lab.start(&config(""));
    let address = lab.client.addresses()[0].to_string();
    let mut slow = lab.client.run(|| connect(&address, "GET /healthz HTTP/1.1\r\nx: "));
    slow.set_read_timeout(Some(Duration::from_secs(1))).expect("set a timeout");
    let began = Instant::now();
    loop {
        // One byte per second, for ever.
        let said = slow.write_all(b"y");
        match said.and_then(|()| slow.read(&mut [0; 4096])) {
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Ok(length) if length > 0 => {}
            Ok(_) | Err(_) => break,
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it is still listened to");
    }
}

#[test]
fn request_with_too_much_in_it_is_refused() {
    let lab = Lab::new();
    let daemon = lab.start(&config(""));
    let before = memory(&daemon);
    let address = lab.client.addresses()[0].to_string();
    for request in [
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000)),
    ] {
        let mut stream = lab.client.run(|| connect(&address, &request));
        stream.set_read_timeout(Some(WAIT)).expect("set a timeout");
        let mut answer = vec![];
        // The daemon does not read the rest of the request, so its close resets the connection.
        let end = stream.read_to_end(&mut answer);
        assert!(
            end.as_ref().is_ok() || end.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
            "{end:?}"
        );
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(memory(&daemon).saturating_sub(before) < 8 << 20);
    assert!(is_answered(&lab.client, &address));
}
