//! Backends that go down and come back.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use sluice_testkit::{Lab, Shares, eventually};

const VIP: &str = "203.0.113.10:80";

/// One service with the backends of the lab and these keys.
fn watched(keys: &str, backends: &str) -> String {
    format!(
        "services: {{web: {{listen: ['{VIP}', '203.0.113.10:53/udp'], backends: {backends}, \
         health: {{tcp: {{}}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}{keys}}}}}"
    )
}

fn two(keys: &str) -> String {
    watched(keys, "['10.0.2.11:8080', '10.0.2.12:8080']")
}

/// Health and eligibility of a backend of `web`, by number.
fn backend(lab: &Lab, index: usize) -> (String, bool) {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let backend = &status["services"][0]["backends"][index];
    (backend["health"].as_str().unwrap().to_owned(), backend["eligible"].as_bool().unwrap())
}

/// Waits until the kernel has the change, too.
fn wait_for(lab: &Lab, index: usize, health: &str) {
    let expected = (health.to_owned(), health == "healthy");
    eventually(&format!("backend {index} is {health}"), || (backend(lab, index) == expected).then_some(()));
}

/// Takes a backend down and waits until it is unhealthy, at most for the documented time.
fn take_down(lab: &Lab, index: usize) {
    lab.backends[index].silence();
    let since = Instant::now();
    wait_for(lab, index, "unhealthy");
    // fall x interval + timeout, and a second.
    let (took, promised) = (since.elapsed(), Duration::from_millis(2 * 200 + 200 + 1000));
    assert!(took < promised, "noticed after {took:?}");
}

fn only(name: &str, count: u32) -> Shares {
    Shares::from([(name, count)])
}

#[test]
fn backend_that_refuses_gets_no_new_connections_until_it_is_back() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(""));
    wait_for(&lab, 0, "healthy");
    wait_for(&lab, 1, "healthy");
    take_down(&lab, 0);
    assert_eq!(lab.client.tcp_shares(20, VIP), only("b2", 20));
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains("10.0.2.11:8080: connect 10.0.2.11:8080: connection refused, 2 of 2"), "{told}");
    lab.backends[0].serve(8080);
    wait_for(&lab, 0, "healthy");
    assert_eq!(lab.client.tcp_shares(20, VIP), Shares::from([("b1", 10), ("b2", 10)]));
}

#[test]
fn backend_whose_wire_is_cut_gets_no_new_connections() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(""));
    wait_for(&lab, 1, "healthy");
    lab.backends[1].ip("link set eth0 down");
    wait_for(&lab, 1, "unhealthy");
    assert_eq!(lab.client.tcp_shares(10, VIP), only("b1", 10));
}

#[test]
fn pool_whose_backends_are_all_down_refuses_and_comes_back() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(""));
    lab.backends[..2].iter().for_each(|backend| backend.silence());
    (0..2).for_each(|index| wait_for(&lab, index, "unhealthy"));
    let refused = |result: std::io::Result<_>| result.map(|_: sluice_testkit::Answer| ()).unwrap_err().kind();
    assert_eq!(refused(lab.client.tcp(VIP)), ErrorKind::ConnectionRefused);
    assert_eq!(refused(lab.client.udp("203.0.113.10:53")), ErrorKind::ConnectionRefused);
    assert_eq!(refused(lab.balancer.tcp(VIP)), ErrorKind::ConnectionRefused);
    assert_eq!(refused(lab.balancer.udp("203.0.113.10:53")), ErrorKind::PermissionDenied);
    lab.backends[1].serve(8080);
    wait_for(&lab, 1, "healthy");
    assert_eq!(lab.client.tcp_shares(10, VIP), only("b2", 10));
}

#[test]
fn backends_that_a_wrong_check_took_down_serve_again_once_it_is_corrected() {
    let lab = Lab::new();
    let wrong = two("").replace("tcp: {}", "tcp: {}, port: 9");
    let mut daemon = lab.start(&wrong);
    let refused = || lab.client.tcp(VIP).map(drop).unwrap_err().kind();
    (0..2).for_each(|index| wait_for(&lab, index, "unhealthy"));
    assert_eq!(refused(), ErrorKind::ConnectionRefused);
    // Another change of the check does not make a backend healthy without results.
    daemon.reload(&wrong.replace("fall: 2", "fall: 3"));
    assert_eq!(refused(), ErrorKind::ConnectionRefused);
    daemon.reload(&two(""));
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    assert_eq!(lab.client.tcp_shares(20, VIP), Shares::from([("b1", 10), ("b2", 10)]));
    // And it does not take out healthy backends.
    daemon.reload(&two("").replace("fall: 2", "fall: 3, initial: down"));
    assert_eq!(lab.client.tcp_shares(20, VIP), Shares::from([("b1", 10), ("b2", 10)]));
}

#[test]
fn pool_that_is_empty_serves_all_its_backends_if_the_file_says_so() {
    let lab = Lab::new();
    // Probed on a port without a server.
    let _daemon = lab.start(&two(", on_empty: use-all").replace("tcp: {}", "tcp: {}, port: 9"));
    (0..2).for_each(|index| wait_for(&lab, index, "unhealthy"));
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b1", 5), ("b2", 5)]));
}

#[test]
fn pool_that_is_empty_is_silent_if_the_file_says_so() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(", on_empty: drop"));
    (0..2).for_each(|index| take_down(&lab, index));
    assert_eq!(lab.client.tcp(VIP).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn backups_serve_while_fewer_than_the_quorum_of_the_others_can() {
    let lab = Lab::new();
    let mut daemon = lab.start(&two(""));
    take_down(&lab, 0);
    let backup = |n| format!("{{address: '10.0.2.{n}:8080', backup: true}}");
    let backends = format!("['10.0.2.11:8080', '10.0.2.12:8080', {}, {}]", backup(13), backup(14));
    daemon.reload(&watched(", quorum: 2", &backends));
    assert_eq!(backend(&lab, 0).0, "unhealthy", "a reload keeps what is known");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b3", 5), ("b4", 5)]));
    lab.backends[0].serve(8080);
    wait_for(&lab, 0, "healthy");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b1", 5), ("b2", 5)]));
}

#[test]
fn health_that_was_known_is_known_after_a_restart_and_a_crash() {
    let lab = Lab::new();
    let yaml = format!("on_stop: keep\n{}", two("").replace("fall: 2", "fall: 2, initial: up"));
    let daemon = lab.start(&yaml);
    take_down(&lab, 0);
    // The next probe is far away: the status shows the restored health.
    let slow = yaml.replace("interval: 200ms", "interval: 1h");
    daemon.stop();
    for end in ["a restart", "a crash"] {
        let daemon = lab.start(&slow);
        assert_eq!(backend(&lab, 0), ("unhealthy".to_owned(), false), "after {end}");
        assert_eq!(lab.client.tcp_shares(10, VIP), only("b2", 10), "after {end}");
        daemon.crash();
    }
}

/// A UDP client with a fixed source port.
struct Regular(UdpSocket);

impl Regular {
    fn new(lab: &Lab) -> Self {
        let socket = lab.client.run(|| UdpSocket::bind("10.0.1.2:7000")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Regular(socket)
    }

    /// The host that answers, if any.
    fn who(&self) -> Option<String> {
        self.0.send_to(b"who?", "203.0.113.10:53").unwrap();
        let mut answer = [0; 256];
        let length = self.0.recv(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).split(' ').next()?.to_owned())
    }
}

#[test]
fn client_of_a_udp_backend_that_went_down_is_moved_although_its_flow_is_known() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(""));
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    let client = Regular::new(&lab);
    let first = client.who().unwrap();
    let index = if first == "b1" { 0 } else { 1 };
    assert_eq!(client.who().as_deref(), Some(&*first), "its flow is known");
    take_down(&lab, index);
    let (other, since) = (["b2", "b1"][index], Instant::now());
    eventually("the other backend answers", || (client.who()? == other).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(1), "moved after {:?}", since.elapsed());
}

#[test]
fn client_of_a_udp_backend_that_is_not_in_the_file_any_more_is_moved() {
    let lab = Lab::new();
    let mut daemon = lab.start(&watched("", "['10.0.2.11:8080']"));
    let client = Regular::new(&lab);
    assert_eq!(client.who().as_deref(), Some("b1"));
    daemon.reload(&watched("", "['10.0.2.12:8080']"));
    eventually("the other backend answers", || (client.who()? == "b2").then_some(()));
}

#[test]
fn ipv6_connection_to_a_backend_that_went_down_is_reset() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services: {web: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::11]:8080'], on_down: reset, \
         health: {icmp: {}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}}",
    );
    wait_for(&lab, 0, "healthy");
    let mut open = lab.client.open("[2001:db8::10]:80").unwrap();
    lab.backends[0].set_sysctl("net/ipv6/icmp/echo_ignore_all", "1");
    wait_for(&lab, 0, "unhealthy");
    assert_eq!(open.listen().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn connection_to_a_backend_that_went_down_is_reset_or_kept_as_the_file_says() {
    for (keys, is_reset) in [(", on_down: reset", true), (", on_down: keep", false)] {
        let lab = Lab::new();
        let _daemon = lab.start(&watched(keys, "['10.0.2.11:8080']").replace("tcp: {}", "icmp: {}"));
        wait_for(&lab, 0, "healthy");
        let mut open = lab.client.open(VIP).unwrap();
        // It no longer answers, but its connections still exist.
        lab.backends[0].set_sysctl("net/ipv4/icmp_echo_ignore_all", "1");
        wait_for(&lab, 0, "unhealthy");
        if is_reset {
            let told = open.listen().unwrap_err().kind();
            assert_eq!(told, ErrorKind::ConnectionReset, "a client that says nothing is told, too");
        } else {
            assert_eq!(open.echo("still there?").unwrap(), "still there?");
        }
    }
}
