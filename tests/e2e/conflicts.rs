//! Rules of other tables that take packets of services, as `sluice doctor` and `sluice explain` show them.

use sluice_testkit::{Lab, Shares, eventually};

use crate::doctor::{about, is_found_and_mended};

const VIP: &str = "203.0.113.10:80";
/// A service with one backend, so that whatever another table translates is seen.
const ONE: &str = "services: {web: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080']}}";

/// The backend that new connections get.
fn winner(lab: &Lab) -> String {
    lab.client.tcp(VIP).expect("an answer").backend
}

/// Severity and text of the only finding that another table translates the same.
#[track_caller]
fn found(lab: &Lab) -> (String, String) {
    let found = about(lab, "also translates 203.0.113.10:80/tcp (web)");
    let [finding] = &found[..] else { panic!("{found:?}\n{}", lab.sluice(&["doctor"]).stdout) };
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    (text("severity"), text("finding"))
}

/// Who wins, as `sluice status` shows it, if another table translates the same; both forms.
fn winner_in_status(lab: &Lab) -> Option<String> {
    let conflicts = lab.sluice(&["status", "--json"]).expect(0).json()["conflicts"].clone();
    let text = lab.sluice(&["status", "--problems"]).expect(0).stdout;
    let Some([conflict]) = conflicts.as_array().map(Vec::as_slice) else {
        assert!(
            conflicts == serde_json::json!([]) && !text.contains("also translates"),
            "{conflicts} {text}"
        );
        return None;
    };
    assert_eq!(conflict["service"], "web");
    assert_eq!(conflict["listeners"], serde_json::json!(["203.0.113.10:80/tcp"]));
    let of = |key: &str| conflict[key].as_str().unwrap().to_owned();
    let line = format!("others  {} also translates 203.0.113.10:80/tcp (web): {}\n", of("chain"), of("why"));
    assert!(text.contains(&line), "{line} in {text}");
    Some(of("winner"))
}

#[test]
fn dnat_of_another_table_for_the_same_address_and_port_is_found_with_who_wins() {
    let lab = Lab::new();
    let daemon = lab.start(ONE);
    let other = |priority: &str, rule: &str| {
        lab.balancer.nft(&format!(
            "table ip other {{ chain arrive {{ type nat hook prerouting priority {priority}; {rule}; }};\n}}"
        ));
    };
    let gone = || lab.balancer.sh("nft delete table ip other");
    let rule = "ip daddr 203.0.113.10 tcp dport { 80, 443 } dnat to 10.0.2.14:8080";
    other("dstnat", "tcp dport 81 dnat to 10.0.2.14:8080");
    assert_eq!(about(&lab, "also translates").len(), 0);
    assert_eq!(winner_in_status(&lab), None);
    gone();
    assert_eq!(winner_in_status(&lab), None);
    other("dstnat + 10", rule);
    assert_eq!(winner(&lab), "b1");
    assert_eq!(winner_in_status(&lab).as_deref(), Some("sluice"));
    let (severity, text) = found(&lab);
    assert!(severity == "note" && text.contains("its priority -90 is after that of sluice"), "{text}");
    gone();
    other("dstnat - 10", rule);
    assert_eq!(winner(&lab), "b4");
    assert_eq!(winner_in_status(&lab).as_deref(), Some("other"));
    let (severity, text) = found(&lab);
    assert!(severity == "error" && text.contains("its priority -110 is before that of sluice"), "{text}");
    gone();

    // With the same priority, it depends on the order.
    other("dstnat", rule);
    assert_eq!(winner(&lab), "b4");
    let (severity, text) = found(&lab);
    assert!(
        severity == "error" && text.contains("now this one, until sluice creates its table again"),
        "{text}"
    );
    let explained = lab.sluice(&["explain", "198.51.100.7", VIP]).expect(0).stdout;
    assert!(explained.contains("table ip other, chain arrive also translates it: "), "{explained}");
    assert!(explained.contains("now this one"), "{explained}");
    daemon.stop();
    assert_eq!(found(&lab).0, "warning");
    let _daemon = lab.start(ONE);
    assert_eq!(winner(&lab), "b1");
    assert_eq!(winner_in_status(&lab).as_deref(), Some("sluice"));
    let (severity, text) = found(&lab);
    assert!(severity == "warning" && text.contains("now that of sluice, until this one is loaded"), "{text}");
}

#[test]
fn dnat_of_iptables_for_a_port_of_a_service_is_found() {
    let lab = Lab::new();
    let _daemon = lab.start(ONE);
    // As docker publishes a port.
    lab.balancer.sh(
        "iptables-nft -t nat -N DOCKER
         iptables-nft -t nat -A PREROUTING -j DOCKER
         iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.14:8080",
    );
    assert_eq!(winner(&lab), "b4");
    let (severity, text) = found(&lab);
    let told = "iptables-nft, table nat, chain PREROUTING also translates";
    assert!(severity == "error" && text.starts_with(told), "{text}");
    lab.balancer.sh("nft delete table ip nat");
    assert_eq!(winner(&lab), "b1");

    lab.balancer.sh("iptables-legacy -t nat -A PREROUTING -d 203.0.113.0/24 -p tcp -m multiport --dports 79:81 -j DNAT --to-destination 10.0.2.14:8080");
    assert_eq!(winner(&lab), "b4");
    assert_eq!(winner_in_status(&lab).as_deref(), Some("unknown"));
    let (severity, text) = found(&lab);
    assert!(severity == "warning" && text.contains("it changes with each load"), "{text}");
}

#[test]
fn notrack_for_packets_of_a_service_is_found() {
    let lab = Lab::new();
    let _daemon = lab.start(ONE);
    assert_eq!(about(&lab, "notrack").len(), 0);
    lab.balancer.nft(
        "table inet fast { chain arrive { type filter hook prerouting priority raw; tcp dport 80 notrack; };\n}",
    );
    lab.client.tcp(VIP).expect_err("nothing translates it");
    let told = about(&lab, "notrack");
    assert_eq!((told.len(), &told[0]["severity"]), (1, &"error".into()), "{told:?}");
    let text = "table inet fast, chain arrive hides packets to 203.0.113.10:80/tcp (web) from conntrack";
    assert!(told[0]["finding"].as_str().unwrap().starts_with(text), "{told:?}");
    lab.balancer.sh("nft delete table inet fast");

    for program in ["iptables-nft", "iptables-legacy"] {
        let rule = |verb| {
            format!("{program} -t raw {verb} PREROUTING -s 10.0.2.11 -p tcp --sport 8080 -j CT --notrack")
        };
        lab.balancer.sh(&rule("-A"));
        let told = about(
            &lab,
            &format!("{program}, table raw, chain PREROUTING hides answers of web/10.0.2.11:8080"),
        );
        assert_eq!((told.len(), &told[0]["severity"]), (1, &"error".into()), "{told:?}");
        lab.balancer.sh(&rule("-D"));
    }
    // It is for another port.
    lab.balancer.sh("iptables-nft -t raw -A PREROUTING -p tcp --dport 8443 -j CT --notrack");
    assert_eq!(about(&lab, "notrack").len(), 0);
}

#[test]
fn rules_for_packets_of_this_host_that_keep_its_own_connections_from_a_service_are_found() {
    let lab = Lab::new();
    let mut daemon = lab.start(ONE);
    let own = || lab.balancer.tcp(VIP).map(|answer| answer.backend);
    assert_eq!(own().expect("an answer"), "b1");

    lab.balancer
        .nft("table inet filter { chain out { type filter hook output priority 0; policy drop; };\n}");
    own().expect_err("it is dropped");
    assert_eq!(winner(&lab), "b1");
    is_found_and_mended(
        &lab,
        "warning",
        "table inet filter, chain out drops packets of this host: no connection of this host reaches a backend",
    );
    assert_eq!(own().expect("an answer"), "b1");
    lab.balancer.sh("nft delete table inet filter");

    let rule = "ip daddr 203.0.113.10 tcp dport 80 dnat to 10.0.2.14:8080";
    lab.balancer
        .nft(&format!("table ip other {{ chain out {{ type nat hook output priority -110; {rule}; }};\n}}"));
    assert_eq!((own().expect("an answer"), winner(&lab)), ("b4".to_owned(), "b1".to_owned()));
    let text = "table ip other, chain out also translates connections of this host to 203.0.113.10:80/tcp (web): its priority -110";
    assert_eq!(about(&lab, text)[0]["severity"], "warning");
    assert_eq!(winner_in_status(&lab), None, "only what arrives is in the status");
    // A service with an interface has none of these connections.
    daemon.reload(&ONE.replace("listen", "interface: eth0, listen"));
    assert!(about(&lab, "this host").is_empty(), "{:?}", about(&lab, "this host"));
    daemon.reload(ONE);
    lab.balancer.sh("nft delete table ip other");

    lab.balancer.nft(
        "table inet fast { chain out { type filter hook output priority raw; tcp dport 80 notrack; };\n}",
    );
    own().expect_err("nothing translates it");
    let text =
        "table inet fast, chain out hides packets of this host to 203.0.113.10:80/tcp (web) from conntrack";
    assert_eq!(about(&lab, text)[0]["severity"], "warning");
}

#[test]
fn rule_of_a_firewall_that_accepts_translated_packets_is_no_finding() {
    let lab = Lab::new();
    let yaml = "services: {web: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080', '10.0.2.12:8080']}}";
    let _daemon = lab.start(yaml);
    // As ufw has it, with a `ufw route allow` for one of the backends.
    lab.balancer.sh("iptables-nft -P FORWARD DROP
         iptables-nft -N ufw-user-forward
         iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         iptables-nft -A FORWARD -j ufw-user-forward
         iptables-nft -A ufw-user-forward -p tcp -d 10.0.2.11 --dport 8080 -j ACCEPT");
    let text = "iptables-nft, chain FORWARD drops forwarded packets";
    let found = about(&lab, text);
    assert_eq!(found[0]["finding"], format!("{text}: no packet reaches web/10.0.2.12:8080"));
    lab.balancer.sh("iptables-nft -A ufw-user-forward -p tcp -d 10.0.2.12/31 --dport 8080 -j ACCEPT");
    assert_eq!(about(&lab, text).len(), 0);
    eventually("both serve", || {
        (lab.client.tcp_shares(4, VIP) == Shares::from([("b1", 2), ("b2", 2)])).then_some(())
    });
    // As the manual filters by the address that the client used.
    lab.balancer.nft(
        "table inet filter {
           chain forward {
             type filter hook forward priority 0; policy drop;
             ct state established accept
             ct original ip daddr 203.0.113.10 tcp dport 8080 accept
           }
         }",
    );
    lab.client.tcp(VIP).expect("an answer");
    assert_eq!(about(&lab, "table inet filter").len(), 0);
    lab.balancer.sh("nft delete table inet filter");
    // Whether the rule accepts them depends on the client.
    lab.balancer.sh("iptables-nft -R ufw-user-forward 2 -s 10.0.1.0/24 -d 10.0.2.12 -j ACCEPT");
    assert_eq!(about(&lab, text)[0]["severity"], "warning");
}
