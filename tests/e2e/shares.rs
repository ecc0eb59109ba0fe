//! Shares of connections by scheduler and weight.

use std::collections::BTreeMap;

use sluice_testkit::{Answer, Lab, Shares};

use crate::{FOUR, FOUR6};

#[test]
fn round_robin_of_400_connections_gives_each_of_four_100() {
    let lab = Lab::new();
    let _daemon = lab.start(&format!(
        "services:
           web: {{listen: [203.0.113.10:80, 203.0.113.10:53/udp], backends: {FOUR}}}
           web6: {{listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], backends: {FOUR6}}}"
    ));
    for (tcp, udp) in [("203.0.113.10:80", "203.0.113.10:53"), ("[2001:db8::10]:80", "[2001:db8::10]:53")] {
        assert_eq!(lab.client.tcp_shares(400, tcp), lab.even(100), "{tcp}");
        assert_eq!(Shares::of(&lab.client.udp_times(400, udp)), lab.even(100), "{udp}");
    }
}

#[test]
fn round_robin_of_interleaved_services_counts_each_on_its_own() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services:
           one: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080', '10.0.2.12:8080']}
           two: {listen: '203.0.113.10:81', backends: ['10.0.2.13:8080', '10.0.2.14:8080']}",
    );
    let ask = |port| lab.client.tcp(&format!("203.0.113.10:{port}")).unwrap();
    let answers: Vec<_> = (0..40).map(|n| ask(80 + n % 2)).collect();
    assert_eq!(Shares::of(&answers), lab.even(10));
}

#[test]
fn round_robin_by_weights_is_exact_in_every_period_and_never_bursts() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services:
           web:
             listen: 203.0.113.10:80
             backends:
               - {address: '10.0.2.11:8080', weight: 50}
               - {address: '10.0.2.12:8080', weight: 20}
               - {address: '10.0.2.13:8080', weight: 10}
               - {address: '10.0.2.14:8080', weight: 0}",
    );
    let answers = lab.client.tcp_times(80, "203.0.113.10:80");
    for period in answers.chunks(8) {
        assert_eq!(Shares::of(period), Shares::from([("b1", 5), ("b2", 2), ("b3", 1)]));
    }
    let mut runs = answers.windows(3);
    assert!(runs.all(|run| run.iter().any(|answer| answer.backend != run[0].backend)), "{answers:#?}");
}

#[test]
fn random_by_weights_is_within_chance() {
    let lab = Lab::new();
    let backends = |prefix: &str, suffix: &str| {
        let one = |n: u8| format!("{{address: '{prefix}{}{suffix}', weight: {n}}}", 10 + n);
        (1..=4).map(one).collect::<Vec<_>>().join(", ")
    };
    let _daemon = lab.start(&format!(
        "defaults: {{scheduler: random}}
services:
           web: {{listen: [203.0.113.10:80, 203.0.113.10:53/udp], backends: [{}]}}
           web6: {{listen: '[2001:db8::10]:80', backends: [{}]}}",
        backends("10.0.2.", ":8080"),
        backends("[fd00:2::", "]:8080")
    ));
    let weights = [("b1", 1), ("b2", 2), ("b3", 3), ("b4", 4)];
    for shares in [
        lab.client.tcp_shares(1000, "203.0.113.10:80"),
        lab.client.tcp_shares(1000, "[2001:db8::10]:80"),
        Shares::of(&lab.client.udp_times(1000, "203.0.113.10:53")),
    ] {
        assert!(shares.fit(&weights), "{shares}");
    }
}

#[test]
fn source_hash_keeps_a_client_on_its_backend_across_daemons() {
    let lab = Lab::new();
    let yaml = format!(
        "defaults: {{scheduler: source-hash}}
services:
           web: {{listen: 203.0.113.10:80, backends: {FOUR}}}
           web6: {{listen: '[2001:db8::10]:80', backends: {FOUR6}}}"
    );
    let choices = || -> BTreeMap<String, String> {
        let ask = |n: usize| {
            let (from, to) = match n % 2 {
                0 => (format!("198.51.100.{}:0", 1 + n / 2), "203.0.113.10:80"),
                _ => (format!("[2001:db8:c::{:x}]:0", 1 + n / 2), "[2001:db8::10]:80"),
            };
            let answer = lab.client.tcp_from(&from, to).unwrap();
            (from, answer.backend)
        };
        (0..128).map(ask).collect()
    };
    let daemon = lab.start(&yaml);
    let first = choices();
    assert_eq!(choices(), first);
    for ip in ["198.", "[2001"] {
        let clients = first.iter().filter(|(client, _)| client.starts_with(ip));
        let counts = clients.fold(BTreeMap::new(), |mut counts, (_, backend)| {
            *counts.entry(backend).or_insert(0) += 1;
            counts
        });
        assert_eq!(counts.len(), 4, "{counts:?}");
        assert!(counts.values().all(|count| *count >= 6), "64 clients: {counts:?}");
    }
    assert!(daemon.stop().success());
    let _daemon = lab.start(&yaml);
    assert_eq!(choices(), first);
}

#[test]
fn source_hash_on_the_port_tells_connections_of_one_client_apart() {
    let lab = Lab::new();
    let _daemon = lab.start(&format!(
        "defaults: {{scheduler: source-hash, hash: {{on: [source-address, source-port]}}}}
services:
           dns: {{listen: 203.0.113.10:53/udp, backends: {FOUR}}}
           dns6: {{listen: '[2001:db8::10]:53/udp', backends: {FOUR6}}}"
    ));
    let weights = [("b1", 1), ("b2", 1), ("b3", 1), ("b4", 1)];
    for (client, to) in [("198.51.100.1", "203.0.113.10:53"), ("[2001:db8:c::1]", "[2001:db8::10]:53")] {
        let choices = || -> Vec<Answer> {
            let ask = |port| lab.client.udp_from(&format!("{client}:{port}"), to).unwrap();
            (4000..4400).map(ask).collect()
        };
        let backends =
            |answers: Vec<Answer>| answers.into_iter().map(|answer| answer.backend).collect::<Vec<_>>();
        let first = choices();
        assert!(Shares::of(&first).fit(&weights), "{}", Shares::of(&first));
        // Without conntrack entries the same flows are new.
        lab.balancer.sh("conntrack -F");
        assert_eq!(backends(choices()), backends(first));
    }
}
