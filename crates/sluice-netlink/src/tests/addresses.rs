//! Addresses of interfaces: listed, added and deleted.

use std::io;
use std::net::IpAddr;
use std::process::Command;

use nix::errno::Errno;

use super::in_namespace;
use crate::{Addresses, HostAddress};

fn ip(command: &str) -> String {
    let output = Command::new("ip").args(command.split(' ')).output().expect("ip starts");
    assert!(output.status.success(), "ip {command}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Whether each address of an interface is ours, sorted.
fn listed(addresses: &mut Addresses, of: &str) -> Vec<(IpAddr, bool)> {
    let all = addresses.list().expect("they are listed");
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|it| it.interface == of)
        .map(|HostAddress { address, is_ours, .. }| (address, is_ours))
        .collect();
    found.sort();
    found
}

fn refused(result: io::Result<()>) -> Errno {
    Errno::from_raw(result.expect_err("it is refused").raw_os_error().expect("an errno"))
}

#[test]
fn added_addresses_are_marked_usable_at_once_and_deleted_one_by_one() {
    in_namespace(|| {
        ip("link add d0 type veth peer name p0");
        let mut addresses = Addresses::open().expect("it opens");
        assert_eq!(listed(&mut addresses, "lo"), []);
        for interface in ["lo", "d0"] {
            for text in ["203.0.113.10", "203.0.113.11", "2001:db8::10"] {
                addresses.add(interface, address(text)).expect("it is added");
            }
            let ours = [
                (address("203.0.113.10"), true),
                (address("203.0.113.11"), true),
                (address("2001:db8::10"), true),
            ];
            assert_eq!(listed(&mut addresses, interface), ours);
            let shown = ip(&format!("address show dev {interface}"));
            for line in ["inet 203.0.113.10/32 scope global", "inet6 2001:db8::10/128 scope global"] {
                assert!(shown.contains(line), "{shown}");
            }
            assert!(!shown.contains("tentative"), "{shown}");

            addresses.delete(interface, address("203.0.113.10")).expect("it is deleted");
            addresses.delete(interface, address("2001:db8::10")).expect("it is deleted");
            assert_eq!(listed(&mut addresses, interface), ours[1..2]);
        }
    });
}

#[test]
fn addresses_of_others_are_listed_and_not_marked() {
    in_namespace(|| {
        ip("link set lo up");
        ip("address add 203.0.113.10/32 dev lo");
        ip("address add 203.0.113.11/24 dev lo");
        ip("address add 2001:db8::10 peer 2001:db8::99 dev lo");
        let mut addresses = Addresses::open().expect("it opens");
        let texts = ["127.0.0.1", "203.0.113.10", "203.0.113.11", "::1", "2001:db8::10"];
        assert_eq!(listed(&mut addresses, "lo"), texts.map(|text| (address(text), false)));
    });
}

#[test]
fn changes_that_the_kernel_refuses_are_its_errors() {
    in_namespace(|| {
        let mut addresses = Addresses::open().expect("it opens");
        assert_eq!(listed(&mut addresses, "lo"), []);
        for text in ["203.0.113.10", "2001:db8::10"] {
            let address = address(text);
            assert_eq!(refused(addresses.add("none", address)), Errno::ENODEV);
            assert_eq!(refused(addresses.delete("lo", address)), Errno::EADDRNOTAVAIL);
            addresses.add("lo", address).expect("it is added");
            assert_eq!(refused(addresses.add("lo", address)), Errno::EEXIST);
        }
    });
}
