//! Changes whose new elements cannot coexist with the old ones in the kernel.

use std::io::ErrorKind;

use sluice_testkit::{Daemon, Lab, eventually};

const VIP: &str = "203.0.113.10:80";

fn in_sync(lab: &Lab) -> bool {
    lab.sluice(&["status", "--json"]).expect(0).json()["table"]["synced"] == true
}

#[track_caller]
fn refused_nothing(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("File exists") && !log.contains("Too many open files"), "{log}");
}

#[test]
fn list_of_many_lengths_is_narrowed_and_widened_by_a_reload() {
    let others = "10.1.0.0/16, 10.2.0.0/17, 10.3.0.0/18, 10.4.0.0/19, 10.5.0.0/20";
    let denied = |net: &str| {
        format!(
            "services: {{web: {{listen: '{VIP}', backends: ['10.0.2.11:8080'], deny: [{net}, {others}]}}}}"
        )
    };
    let lab = Lab::new();
    let answers = |address: &str| match lab.client.tcp_from(&format!("{address}:0"), VIP) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => false,
        Err(error) => panic!("{error}"),
    };
    let mut daemon = lab.start(&denied("198.51.100.0/24"));
    assert!(!answers("198.51.100.7"));
    daemon.reload(&denied("198.51.100.64/26"));
    assert!(answers("198.51.100.7"));
    assert!(!answers("198.51.100.66"));
    daemon.reload(&denied("198.51.0.0/16"));
    assert!(!answers("198.51.100.7"));
    assert!(in_sync(&lab));
    refused_nothing(&daemon);
}

#[test]
fn full_set_takes_another_backend_by_a_reload() {
    let services = |last: &str| {
        let mut yaml = "services:\n".to_owned();
        for n in 0..256 {
            let (listen, last) =
                if n == 0 { (VIP.to_owned(), last) } else { (format!("198.18.0.{n}:80"), "10.0.2.14") };
            yaml += &format!(
                "  s{n}: {{listen: '{listen}', backends: ['10.0.2.11:8080', '10.0.2.12:8080', '10.0.2.13:8080', '{last}:8080']}}\n"
            );
        }
        yaml
    };
    let lab = Lab::new();
    let mut daemon = lab.start(&services("10.0.2.99"));
    assert!(lab.ruleset().contains("@masquerade4 "), "it is full, and has the smallest size");
    daemon.reload(&services("10.0.2.14"));
    assert_eq!(lab.client.tcp_shares(24, VIP), lab.even(6));
    assert!(lab.ruleset().contains("@masquerade4_4096 "));
    assert!(in_sync(&lab));
    refused_nothing(&daemon);
}

#[test]
fn network_of_an_interface_is_renumbered_at_once() {
    let lab = Lab::new();
    let daemon = lab.start(&format!(
        "services: {{web: {{listen: '{VIP}', source: auto, backends: ['10.0.2.11:8080']}}}}"
    ));
    for (from, to, network) in
        [("/24", "/16", "10.0.0.0/16"), ("/16", "/24", "10.0.2.0/24"), ("/24", "/25", "10.0.2.0/25")]
    {
        lab.balancer.ip(&format!("addr del 10.0.2.1{from} dev eth1\naddr add 10.0.2.1{to} dev eth1"));
        eventually("the new network is known, and the old one is not", || {
            let list = lab.balancer.sh("nft list set inet sluice on-link4");
            let networks = list.matches("\"eth1\" . ").count();
            (list.contains(&format!("\"eth1\" . {network}")) && networks == 1 && in_sync(&lab)).then_some(())
        });
        lab.client.tcp(VIP).expect("an answer");
    }
    refused_nothing(&daemon);
}
