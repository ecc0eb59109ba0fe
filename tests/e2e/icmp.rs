//! ICMP errors cross the translation, both ways.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use sluice_testkit::{Lab, Namespace};

/// Larger than all buffers on the path.
const BYTES: usize = 1 << 20;

const SERVICES: &str = "
services:
  v4: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: ['10.9.0.2:8080']}
  v6: {listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], backends: ['[fd00:9::2]:8080']}
";

/// Makes the first backend of a lab a router to a host behind a link with an MTU of 1,280 bytes. The host does not announce
/// this in its MSS.
fn narrow_backend(lab: &Lab) -> Namespace {
    let far = Namespace::new();
    let router = &lab.backends[0];
    router.ip(&format!("link add narrow type veth peer name eth0 netns {}", far.netns()));
    router.ip("link set narrow up mtu 1280\naddr add 10.9.0.1/24 dev narrow\naddr add fd00:9::1/64 dev narrow nodad");
    far.ip(
        "link set eth0 up mtu 1280\naddr add 10.9.0.2/24 dev eth0\naddr add fd00:9::2/64 dev eth0 nodad\n\
         route add default via 10.9.0.1 advmss 1460\nroute add default via fd00:9::1 advmss 1440",
    );
    router.set_sysctl("net/ipv4/ip_forward", "1");
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    lab.balancer.ip("route add 10.9.0.0/24 via 10.0.2.11\nroute add fd00:9::/64 via fd00:2::11");
    far
}

/// Accepts one connection, and receives and sends this many bytes.
fn swap(listener: TcpListener) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.read_exact(&mut vec![0; BYTES]).expect("all of the request");
        stream.write_all(&vec![2; BYTES]).expect("room for the answer");
    })
}

/// A client sends and receives much data through a service.
fn exchange(lab: &Lab, far: &Namespace, at: &str, vip: &str) {
    let listener = far.run(|| TcpListener::bind(at)).expect("a listener");
    let server = swap(listener);
    let mut stream = lab.client.run(|| TcpStream::connect(vip)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(&vec![1; BYTES]).expect("room for the request");
    stream.read_exact(&mut vec![0; BYTES]).expect("all of the answer");
    server.join().expect("the server got it all");
}

#[test]
fn path_mtu_behind_the_balancer_is_discovered() {
    let lab = Lab::new();
    let far = narrow_backend(&lab);
    let _daemon = lab.start(SERVICES);
    for (at, vip) in [("10.9.0.2:8080", "203.0.113.10:80"), ("[fd00:9::2]:8080", "[2001:db8::10]:80")] {
        exchange(&lab, &far, at, vip);
    }
    for (route, vip) in [("-4", "203.0.113.10"), ("-6", "2001:db8::10")] {
        let learnt = lab.client.sh(&format!("ip {route} route get {vip}"));
        assert!(learnt.contains("mtu 1280"), "{learnt}");
    }
}

#[test]
fn path_mtu_before_the_balancer_is_discovered_by_backends() {
    let lab = Lab::new();
    let far = narrow_backend(&lab);
    // All links have a large MTU except the one to the client.
    lab.backends[0].ip("link set narrow mtu 1500");
    far.ip("link set eth0 mtu 1500");
    lab.balancer.ip("link set eth0 mtu 1280");
    let _daemon = lab.start(SERVICES);
    for (at, vip) in [("10.9.0.2:8080", "203.0.113.10:80"), ("[fd00:9::2]:8080", "[2001:db8::10]:80")] {
        exchange(&lab, &far, at, vip);
    }
    for (route, balancer) in [("-4", "10.0.2.1"), ("-6", "fd00:2::1")] {
        let learnt = far.sh(&format!("ip {route} route get {balancer}"));
        assert!(learnt.contains("mtu 1280"), "{learnt}");
    }
}

#[test]
fn port_of_a_backend_that_is_unreachable_is_told_to_the_client() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services: {v4: {listen: ['203.0.113.10:53/udp'], backends: ['10.0.2.11:9']}, \
         v6: {listen: ['[2001:db8::10]:53/udp'], backends: ['[fd00:2::11]:9']}}",
    );
    for (any, vip) in [("0.0.0.0:0", "203.0.113.10:53"), ("[::]:0", "[2001:db8::10]:53")] {
        let socket = lab.client.run(|| UdpSocket::bind(any)).expect("a socket");
        socket.connect(vip).expect("a route");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket.send(b"?").expect("sent");
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{vip}");
    }
}
