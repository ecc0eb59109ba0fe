//! Events and dumps of interfaces.

use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

use super::in_namespace;
use super::monitor::PATIENCE;
use crate::{Changes, Interfaces};

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-e", "-c", script]).status().expect("sh starts").success(), "{script}");
}

/// Networks of an interface, sorted.
fn networks(interfaces: &mut Interfaces, of: &str) -> Vec<String> {
    let all = interfaces.networks().expect("interfaces are listed");
    let mut found: Vec<_> =
        all.into_iter().filter(|(name, _)| name == of).map(|(_, net)| net.trunc().to_string()).collect();
    found.sort();
    found
}

#[test]
fn labelled_address_belongs_to_its_interface() {
    in_namespace(|| {
        sh("ip link add d0 type veth peer name p0
            ip address add 10.9.0.1/24 dev d0
            ip address add 10.9.1.1/24 dev d0 label d0:1
            ip -6 address add fd09::1/64 dev d0 nodad");
        let mut interfaces = Interfaces::open().expect("it opens");
        assert_eq!(networks(&mut interfaces, "d0"), ["10.9.0.0/24", "10.9.1.0/24", "fd09::/64"]);
        assert_eq!(networks(&mut interfaces, "d0:1"), Vec::<String>::new());
        assert_eq!(
            crate::networks().expect("they are listed"),
            interfaces.networks().expect("they are listed")
        );
    });
}

#[test]
fn point_to_point_address_is_in_the_network_of_its_peer() {
    in_namespace(|| {
        sh("ip link add d0 type veth peer name p0
            ip address add 10.9.0.1 peer 10.9.5.2/24 dev d0
            ip address add 10.9.0.1 peer 10.9.6.2/32 dev d0
            ip -6 address add fd09::1 peer fd0a::2/64 dev d0");
        let mut interfaces = Interfaces::open().expect("it opens");
        assert_eq!(networks(&mut interfaces, "d0"), ["10.9.5.0/24", "10.9.6.2/32", "fd0a::/64"]);
    });
}

#[test]
fn thousand_addresses_are_all_listed() {
    in_namespace(|| {
        sh("ip link add d0 type veth peer name p0
            seq 1 1000 | while read n; do echo address add 10.$((n / 250)).$((n % 250)).1/24 dev d0; done | ip -batch -");
        assert_eq!(networks(&mut Interfaces::open().expect("it opens"), "d0").len(), 1000);
    });
}

/// The received changes, for tests with a deadline.
fn told(mut interfaces: Interfaces) -> mpsc::Receiver<Changes> {
    let (sender, changes) = mpsc::channel();
    thread::spawn(move || while sender.send(interfaces.wait().expect("changes come")).is_ok() {});
    changes
}

/// A script that runs until it is dropped.
struct Storm(Child);

impl Storm {
    fn of(script: &str) -> Self {
        Storm(Command::new("sh").args(["-c", script]).spawn().expect("sh starts"))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it ends");
    }
}

#[test]
fn changes_without_a_pause_are_told_while_they_go_on() {
    in_namespace(|| {
        sh("ip link add d0 type veth peer name p0");
        let changes = told(Interfaces::open().expect("it opens"));
        let _storm = Storm::of("while :; do ip link set d0 mtu 1400; ip link set d0 mtu 1500; done");
        for _ in 0..3 {
            assert!(changes.recv_timeout(PATIENCE).expect("a change is told").networks);
        }
    });
}

#[test]
fn forwarding_of_the_host_is_told_and_that_of_interfaces_is_not() {
    in_namespace(|| {
        sh("ip link add d0 type veth peer name p0
            echo 1 >/proc/sys/net/ipv4/ip_forward
            echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        let changes = told(Interfaces::open().expect("it opens"));
        let next = || changes.recv_timeout(PATIENCE).expect("a change is told");
        for key in ["ipv4/ip_forward", "ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
            for value in [0, 1] {
                sh(&format!("echo {value} >/proc/sys/net/{key}"));
                assert!(next().forwarding, "{key} is {value}");
            }
        }
        sh("echo 0 >/proc/sys/net/ipv4/conf/d0/forwarding; echo 0 >/proc/sys/net/ipv6/conf/d0/forwarding
            ip link set d0 mtu 1400");
        assert_eq!(next(), Changes { networks: true, forwarding: false });
    });
}
