//! Backends that go and come.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use sluice_testkit::{Lab, Shares, eventually};

const VIP: &str = "203.0.113.10:80";

/// One service with the backends that the lab has and these keys.
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

fn wait_for(lab: &Lab, index: usize, health: &str) {
    eventually(&format!("backend {index} is {health}"), || (backend(lab, index).0 == health).then_some(()));
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
    lab.backends[0].silence();
    wait_for(&lab, 0, "unhealthy");
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
fn pool_that_is_empty_serves_all_or_its_backups_if_the_file_says_so() {
    let lab = Lab::new();
    let mut daemon = lab.start(&two(", on_empty: use-all"));
    lab.backends[0].silence();
    wait_for(&lab, 0, "unhealthy");
    lab.backends[1].silence();
    wait_for(&lab, 1, "unhealthy");
    lab.backends[0].serve_on("10.0.2.11:9000");
    daemon.reload(&watched(
        "",
        "['10.0.2.11:8080', {address: '10.0.2.13:8080', backup: true}, {address: '10.0.2.14:8080', backup: true}]",
    ));
    assert_eq!(backend(&lab, 0).0, "unhealthy", "a reload keeps what is known");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b3", 5), ("b4", 5)]));
}

#[test]
fn client_of_a_udp_backend_that_went_down_is_moved_although_its_flow_is_known() {
    let lab = Lab::new();
    let _daemon = lab.start(&two(""));
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    let socket = lab.client.run(|| UdpSocket::bind("10.0.1.2:7000")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let who = || {
        socket.send_to(b"who?", "203.0.113.10:53").unwrap();
        let mut answer = [0; 256];
        let length = socket.recv(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).split(' ').next()?.to_owned())
    };
    let first = who().unwrap();
    let index = if first == "b1" { 0 } else { 1 };
    assert_eq!(who().as_deref(), Some(&*first), "its flow is known");
    lab.backends[index].silence();
    wait_for(&lab, index, "unhealthy");
    let other = ["b2", "b1"][index];
    eventually("the other backend answers", || (who()? == other).then_some(()));
}

#[test]
fn connection_to_a_backend_that_went_down_is_reset_or_kept_as_the_file_says() {
    for (keys, is_reset) in [(", on_down: reset", true), (", on_down: keep", false)] {
        let lab = Lab::new();
        let _daemon = lab.start(&watched(keys, "['10.0.2.11:8080']").replace("tcp: {}", "icmp: {}"));
        wait_for(&lab, 0, "healthy");
        let mut open = lab.client.open(VIP).unwrap();
        // It answers no more, but its connections are still there.
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
