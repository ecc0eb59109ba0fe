use super::*;

fn packet(protocol: Protocol, to: &str, port: u16) -> Packet {
    let address: IpAddr = to.parse().unwrap();
    let ports = Ports { first: port, last: port };
    let destination = End { address: Some(address), ports: Some(ports) };
    Packet {
        ip: Ip::of(address),
        protocol,
        source: End::default(),
        original: destination.clone(),
        destination,
        is_translated: false,
    }
}

fn tcp(to: &str, port: u16) -> Packet {
    packet(Protocol::Tcp, to, port)
}

/// The first base chain's verdicts.
fn met(table: &RuleTable, packet: &Packet) -> Vec<(Verdict, bool)> {
    let met = table.verdicts(&table.bases[0], packet);
    met.into_iter().map(|(verdict, is_certain)| (verdict.clone(), is_certain)).collect()
}

const FINAL: (Verdict, bool) = (Verdict::Accept, true);

/// What `nft -j list table` prints for sets, chains, and rules of chains that expressions make up.
fn nft(family: &str, objects: &str) -> RuleTable {
    let table = format!(r#"{{"table": {{"family": "{family}", "name": "other", "handle": 7}}}}"#);
    let base =
        r#"{"chain": {"name": "p", "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}}"#;
    let text = format!(r#"{{"nftables": [{{"metainfo": {{}}}}, {table}, {base}, {objects}]}}"#);
    from_nft(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn rule(chain: &str, statements: &str) -> String {
    format!(r#"{{"rule": {{"chain": "{chain}", "expr": [{statements}]}}}}"#)
}

fn dport(op: &str, right: &str) -> String {
    let left = r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#;
    format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
}

const DNAT: &str = r#"{"dnat": {"family": "ip", "addr": "10.0.0.1"}}"#;

#[test]
fn rules_of_nft_that_name_a_destination_translate_it_only() {
    let daddr = |right: &str| {
        let left = r#"{"payload": {"protocol": "ip", "field": "daddr"}}"#;
        format!(r#"{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}"#)
    };
    for (conditions, address, ports, others) in [
        (dport("==", "80"), "203.0.113.10", [80], [81]),
        (dport("!=", "81"), "203.0.113.10", [80], [81]),
        (dport("==", r#"{"set": [80, {"range": [90, 95]}]}"#), "203.0.113.10", [92], [96]),
        (daddr(r#""203.0.113.10""#) + ", " + &dport("==", "80"), "203.0.113.10", [80], [81]),
        (
            daddr(r#"{"prefix": {"addr": "203.0.113.0", "len": 24}}"#) + ", " + &dport("==", "80"),
            "203.0.113.99",
            [80],
            [81],
        ),
    ] {
        let table = nft("inet", &rule("p", &format!("{conditions}, {{\"counter\": null}}, {DNAT}")));
        let translated = |port| met(&table, &tcp(address, port))[0] == (Verdict::Translate, true);
        assert!(ports.into_iter().all(translated), "{conditions}");
        assert!(!others.into_iter().any(translated), "{conditions}");
        assert_eq!(met(&table, &tcp("2001:db8::1", 80)), [FINAL], "{conditions}");
        assert_eq!(met(&table, &packet(Protocol::Udp, address, 80)), [FINAL], "{conditions}");
    }
    let elsewhere = nft("inet", &rule("p", &format!("{}, {DNAT}", daddr(r#""203.0.113.11""#))));
    assert_eq!(met(&elsewhere, &tcp("203.0.113.10", 80)), [FINAL]);
    assert_eq!(nft("ip6", &rule("p", DNAT)).version(), Some(Ip::V6));
    assert_eq!(met(&nft("ip6", &rule("p", DNAT)), &tcp("203.0.113.10", 80)), []);
}

#[test]
fn condition_that_is_not_known_may_hold() {
    let iif = r#"{"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "docker0"}}"#;
    let statements = format!("{iif}, {}, {DNAT}", dport("==", "80"));
    let table = nft("ip", &rule("p", &statements));
    assert_eq!(met(&table, &tcp("203.0.113.10", 80)), [(Verdict::Translate, false), FINAL]);
    // A listener with a range of ports, and one with any address.
    let mut some = tcp("203.0.113.10", 80);
    some.destination = End { address: None, ports: Some(Ports { first: 80, last: 90 }) };
    let table = nft("ip", &rule("p", &format!("{}, {DNAT}", dport("==", "85"))));
    assert_eq!(met(&table, &some), [(Verdict::Translate, false), FINAL]);
}

#[test]
fn sets_maps_and_chains_of_nft_are_followed() {
    let set = r#"{"set": {"name": "ports", "elem": [80, {"elem": {"val": 81, "timeout": 9}}]}}"#;
    let to_map = r#"{"map": {"name": "to", "elem": [[90, "10.0.0.1"]]}}"#;
    let verdicts = r#"{"map": {"name": "verdicts", "elem": [[{"concat": ["203.0.113.10", "tcp", 70]}, {"jump": {"target": "sub"}}]]}}"#;
    let key = r#"{"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}"#;
    let mapped = r#"{"dnat": {"family": "ip", "addr": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@to"}}}}"#;
    let objects = [
        set.to_owned(),
        to_map.to_owned(),
        verdicts.to_owned(),
        rule("sub", &format!("{DNAT}, {{\"accept\": null}}")),
        rule("p", &format!("{}, {{\"return\": null}}", dport("==", "81"))),
        rule("p", &format!("{}, {{\"redirect\": {{\"port\": 8080}}}}", dport("==", r#""@ports""#))),
        rule("p", &format!(r#"{{"vmap": {{"key": {key}, "data": "@verdicts"}}}}"#)),
        rule("p", mapped),
    ];
    let table = nft("ip", &objects.join(", "));
    let translated = |port| met(&table, &tcp("203.0.113.10", port))[0] == (Verdict::Translate, true);
    assert_eq!([80, 81, 70, 90, 91].map(translated), [true, false, true, true, false]);
    assert_eq!(met(&table, &tcp("203.0.113.11", 70)), [FINAL]);
}

#[test]
fn rules_of_nft_see_a_new_and_translated_flow() {
    let ct = |key: &str, op: &str, right: &str| {
        let left = format!(r#"{{"ct": {{"key": "{key}"}}}}"#);
        let test = format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#);
        nft("inet", &rule("p", &format!("{test}, {{\"drop\": null}}")))
    };
    let mut translated = tcp("10.0.2.11", 8080);
    translated.is_translated = true;
    let drops = |table: &RuleTable| met(table, &translated) == [(Verdict::Drop, true)];
    assert!(!drops(&ct("state", "in", r#"["established", "related"]"#)));
    assert!(drops(&ct("state", "in", r#"["established", "new"]"#)));
    assert!(drops(&ct("state", "in", r#""new""#)));
    assert!(drops(&ct("status", "in", r#""dnat""#)));
    assert!(!drops(&ct("status", "!=", r#""dnat""#)));

    translated.original = tcp("203.0.113.10", 80).original;
    let original = |key: &str, right: &str| {
        let left = format!(r#"{{"ct": {{"key": "{key}", "dir": "original"}}}}"#);
        let test = format!(r#"{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}"#);
        nft("inet", &rule("p", &format!("{test}, {{\"drop\": null}}")))
    };
    let drops = |table: &RuleTable| met(table, &translated) == [(Verdict::Drop, true)];
    assert!(drops(&original("ip daddr", r#""203.0.113.10""#)));
    assert!(!drops(&original("ip daddr", r#""10.0.2.11""#)));
    assert!(drops(&original("proto-dst", "80")));
    let rules = "-P FORWARD ACCEPT\n-A FORWARD -m conntrack --ctorigdst 203.0.113.0/24 --ctorigdstport 80 --ctdir ORIGINAL -j DROP";
    assert!(drops(&from_iptables("iptables-nft", "filter", None, rules)));
}

#[test]
fn rules_of_iptables_are_evaluated_in_order() {
    let rules = r#"-P PREROUTING ACCEPT
-P POSTROUTING ACCEPT
-N DOCKER
-N QUIET
-A PREROUTING -d 203.0.113.20/32 -j RETURN
-A PREROUTING -p tcp -m tcp --dport 79 -j QUIET
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p udp -m multiport --dports 53,1000:1005 -m comment --comment "not --dport 80 -j DNAT" -j REDIRECT --to-ports 5353
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER ! -d 203.0.113.10/32 -p tcp -m tcp --dport 81 -j DNAT --to-destination 172.17.0.2:80
-A QUIET -j LOG --log-prefix "a \"b\" "
-A QUIET -j ACCEPT"#;
    let table = from_iptables("iptables-nft", "nat", Some(3), rules);
    assert_eq!(table.bases.len(), 1, "postrouting is not looked at");
    let met = |packet| met(&table, &packet);
    let maybe = (Verdict::Translate, false);
    assert_eq!(met(tcp("203.0.113.10", 80)), [maybe.clone(), FINAL]);
    assert_eq!(met(tcp("203.0.113.20", 80)), [FINAL]);
    assert_eq!(met(tcp("203.0.113.10", 79)), [FINAL]);
    assert_eq!(met(tcp("203.0.113.10", 81)), [FINAL]);
    assert_eq!(met(tcp("203.0.113.11", 81)), [maybe, FINAL]);
    let udp = |port| met(packet(Protocol::Udp, "203.0.113.10", port))[0] == (Verdict::Translate, true);
    assert_eq!([53, 1003, 80, 1006].map(udp), [true, true, false, false]);
    assert_eq!(table.name("PREROUTING"), "iptables-nft, table nat, chain PREROUTING");

    let raw = "-P PREROUTING ACCEPT\n-A PREROUTING -p tcp -m tcp --sport 80 -j CT --notrack\n-A PREROUTING -j CT --zone 5\n-A PREROUTING -p tcp -j NOTRACK";
    let table = from_iptables("iptables-legacy", "raw", None, raw);
    let untracks = [(Verdict::Untrack, false), (Verdict::Untrack, true), FINAL];
    assert_eq!(self::met(&table, &tcp("203.0.113.10", 80)), untracks);
}

#[test]
fn goto_and_loops_end() {
    let rules = "-P FORWARD DROP\n-N A\n-N B\n-A FORWARD -p tcp -g A\n-A FORWARD -j ACCEPT\n-A A -p udp -j ACCEPT\n-A B -j B";
    let table = from_iptables("iptables-legacy", "filter", None, rules);
    assert_eq!(met(&table, &tcp("10.0.2.11", 80)), [(Verdict::Drop, true)], "the policy follows a goto");
    assert_eq!(met(&table, &packet(Protocol::Udp, "10.0.2.11", 80)), [FINAL]);
    let rules = "-P FORWARD DROP\n-N B\n-A FORWARD -j B\n-A B -j B";
    let table = from_iptables("iptables-legacy", "filter", None, rules);
    assert_eq!(met(&table, &tcp("10.0.2.11", 80)), [(Verdict::Drop, true)]);
}
