//! `sluice doctor`: findings, and the commands that fix them.

use serde_json::Value;
use sluice_testkit::{Daemon, Lab, eventually};
use socket2::{Domain, Protocol, Socket, Type};

use crate::web;

/// Findings that contain this text.
pub(crate) fn about(lab: &Lab, text: &str) -> Vec<Value> {
    let told = lab.sluice(&["doctor", "--json"]);
    assert!(matches!(told.code, Some(0 | 3)), "{}", told.stderr);
    let findings = told.json().as_array().expect("a list").clone();
    assert_eq!(told.code == Some(3), !findings.is_empty());
    findings.into_iter().filter(|finding| finding["finding"].as_str().unwrap().contains(text)).collect()
}

/// Checks that there is one such finding, and that its command fixes it.
#[track_caller]
pub(crate) fn is_found_and_mended(lab: &Lab, severity: &str, text: &str) {
    let found = about(lab, text);
    let [finding] = &found[..] else { panic!("{text}: {found:?}\n{}", lab.sluice(&["doctor"]).stdout) };
    assert_eq!(finding["severity"], severity, "{text}");
    lab.balancer.sh(finding["command"].as_str().expect("a command"));
    assert_eq!(about(lab, text), [] as [Value; 0]);
}

#[test]
fn healthy_host_has_nothing_but_a_listener_that_is_routed_to_it() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    is_found_and_mended(&lab, "note", "203.0.113.10 is on no interface");
    let told = lab.sluice(&["doctor"]).expect(0);
    assert_eq!(told.stdout, "no findings\n");
}

#[test]
fn doctor_fails_on_findings_of_the_severity_that_was_asked_for_and_above() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    let codes = || {
        ["error", "warning", "note"]
            .map(|severity| lab.sluice(&["doctor", "--fail-on", severity]).code.expect("an exit code"))
    };
    assert_eq!(codes(), [0, 0, 3], "a note: {}", lab.sluice(&["doctor"]).stdout);
    let default = lab.sluice(&["doctor"]).expect(3).stdout;
    assert!(default.starts_with("note: "), "{default}");
    lab.balancer.ip("address add 203.0.113.10 dev lo");
    assert_eq!(codes(), [0, 0, 0], "{}", lab.sluice(&["doctor"]).stdout);
    lab.balancer.ip("route del default via 10.0.1.2");
    assert_eq!(codes(), [0, 3, 3], "a warning: {}", lab.sluice(&["doctor"]).stdout);
    lab.balancer
        .nft("table inet filter { chain forward { type filter hook forward priority 0; policy drop; };\n}");
    assert_eq!(codes(), [3, 3, 3], "an error: {}", lab.sluice(&["doctor"]).stdout);
}

#[test]
fn sctp_probes_on_a_kernel_without_sctp_are_found_and_say_why_they_were_skipped() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services: {m3ua: {listen: '203.0.113.10:2905/sctp', backends: ['10.0.2.11'], \
           health: {sctp: {}, interval: 1s, timeout: 500ms}}}",
    );
    let has_sctp = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)).is_ok();
    let found = about(&lab, "m3ua: the kernel has no SCTP sockets");
    assert_eq!(found.is_empty(), has_sctp, "{found:?}");
    let probe = eventually("a backend is probed", || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        let backend = &status["services"][0]["backends"][0];
        backend["last_probe"]["detail"].as_str().map(|detail| (detail.to_owned(), backend.clone()))
    });
    let (detail, backend) = probe;
    assert_eq!(detail.contains("no SCTP sockets (modprobe sctp)"), !has_sctp, "{detail}");
    assert!(has_sctp || backend["eligible"] == true, "{backend}");
}

#[test]
fn address_whose_handshakes_are_not_answered_everywhere_is_found() {
    let lab = Lab::new();
    let _daemon = lab.start(&format!("defaults: {{synproxy: true}}\n{}", web()));
    is_found_and_mended(
        &lab,
        "warning",
        "203.0.113.10 is on no interface: this host completes handshakes only",
    );
}

#[test]
fn forwarding_that_is_off_is_found() {
    let lab = Lab::new();
    lab.configure(&web());
    assert_eq!(about(&lab, "IPv4 forwarding is disabled: sluiced enables it")[0]["severity"], "note");
    lab.configure(&format!("forwarding: ignore\n{}", web()));
    is_found_and_mended(&lab, "error", "IPv4 forwarding is disabled: no packet reaches a backend");
}

#[test]
fn chain_of_others_that_drops_on_forward_is_found_and_its_accept_serves() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    lab.balancer
        .nft("table inet filter { chain forward { type filter hook forward priority 0; policy drop; };\n}");
    lab.client.tcp("203.0.113.10:80").expect_err("the other table drops it");
    is_found_and_mended(&lab, "error", "table inet filter, chain forward drops");
    lab.client.tcp("203.0.113.10:80").expect("an answer");
    lab.balancer.nft(
        "table ip late { chain pass { type filter hook forward priority 10; ct state established accept; drop; };
 }",
    );
    is_found_and_mended(&lab, "error", "table ip late, chain pass drops");
    lab.client.tcp("203.0.113.10:80").expect("an answer");
}

#[test]
fn chains_of_both_iptables_that_drop_on_forward_are_found() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    lab.balancer.sh("iptables-nft -P FORWARD DROP");
    lab.client.tcp("203.0.113.10:80").expect_err("the other table drops it");
    is_found_and_mended(&lab, "error", "iptables-nft, chain FORWARD drops");
    lab.client.tcp("203.0.113.10:80").expect("an answer");
    lab.balancer.sh("iptables-legacy -P FORWARD DROP");
    lab.client.tcp("203.0.113.10:80").expect_err("the other table drops it");
    is_found_and_mended(&lab, "error", "iptables-legacy, chain FORWARD drops");
    lab.client.tcp("203.0.113.10:80").expect("an answer");
}

#[test]
fn interface_and_routes_that_are_missing_are_found() {
    let lab = Lab::new();
    let yaml = "services:
       gone: {listen: '10.0.1.1:80', interface: eth7, backends: ['10.0.2.11:8080']}
       far: {listen: '10.0.1.1:81', backends: ['10.99.0.1:8080']}
       from: {listen: '10.0.1.1:82', source: 10.0.2.9, backends: ['10.0.2.11:8080']}";
    let _daemon = lab.start(yaml);
    assert_eq!(about(&lab, "gone: interface eth7 does not exist")[0]["severity"], "error");
    assert_eq!(about(&lab, "from: source 10.0.2.9 is on no interface")[0]["severity"], "error");
    assert!(about(&lab, "far/10.99.0.1:8080 has no route").is_empty());
    lab.balancer.ip("route del default");
    assert_eq!(about(&lab, "far/10.99.0.1:8080 has no route")[0]["severity"], "error");
    assert_eq!(about(&lab, "no IPv4 default route")[0]["severity"], "warning");
}

#[test]
fn local_networks_and_default_routes_with_several_next_hops_are_no_findings() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    lab.balancer.ip("route replace default nexthop via 10.0.1.2 dev eth0 nexthop via 10.0.2.11 dev eth1");
    for text in ["no IPv4 default route", "default routes lead to"] {
        assert_eq!(about(&lab, text), [] as [Value; 0], "next hops of one route are one uplink");
    }
    assert_eq!(about(&lab, "203.0.113.10 is on no interface").len(), 1);
    lab.balancer.ip("route add local 203.0.113.0/24 dev lo");
    assert_eq!(about(&lab, "203.0.113.10 is on no interface"), [] as [Value; 0]);
    assert_eq!(lab.client.tcp_shares(8, "203.0.113.10:80"), lab.even(2));
}

#[test]
fn settings_that_break_services_are_found() {
    let lab = Lab::new();
    let yaml = "services:
       v4: {listen: '*:80', interface: eth1, backends: ['10.0.2.11:8080']}
       v6: {listen: '*:81', backends: ['[fd00:2::11]:8080']}";
    let _daemon = lab.start(yaml);
    lab.balancer.set_sysctl("net/ipv4/conf/all/rp_filter", "1");
    lab.balancer.set_sysctl("net/ipv4/conf/eth1/rp_filter", "0");
    is_found_and_mended(&lab, "warning", "rp_filter is strict on eth1");
    lab.balancer.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1");
    lab.balancer.ip("route del default via fd00:1::2");
    is_found_and_mended(&lab, "note", "eth0 ignores router advertisements");
    lab.balancer.ip("link add br0 type bridge");
    lab.balancer.set_sysctl("net/bridge/bridge-nf-call-iptables", "1");
    is_found_and_mended(&lab, "error", "bridge-nf-call-iptables is enabled and this host has a bridge");
}

#[test]
fn listener_that_takes_ssh_of_this_host_is_found() {
    let lab = Lab::new();
    lab.balancer.serve_on("10.0.1.1:22");
    let yaml = "services:
       all: {listen: '10.0.1.1:*', backends: ['10.0.2.11']}
       vip: {listen: '203.0.113.10:22', backends: ['10.0.2.11']}";
    let _daemon = lab.start(yaml);
    let found = about(&lab, "takes port 22 of this host");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0]["finding"].as_str().unwrap().starts_with("all: 10.0.1.1:*/tcp takes"), "{found:?}");
    lab.configure("services: {off: {listen: '*:22', enabled: false, backends: ['10.0.2.11']}}");
    assert_eq!(about(&lab, "no service is enabled").len(), 1);
    assert_eq!(about(&lab, "takes port 22").len(), 0);
}

#[test]
fn sysctl_that_makes_packets_of_unknown_connections_invalid_is_found_where_a_service_depends_on_it() {
    let lab = Lab::new();
    lab.balancer.serve_on("10.0.1.1:80");
    let service =
        |listen: &str, keys: &str| format!("{{listen: '{listen}', backends: ['10.0.2.11:8080'], {keys}}}");
    let services = [
        ("adopts", service("203.0.113.10:80", "midstream: adopt")),
        ("off", service("203.0.113.10:81", "midstream: adopt, enabled: false")),
        ("udp", service("203.0.113.10:80/udp", "midstream: adopt")),
        ("drops", service("10.0.1.1:80", "deny: 192.0.2.1")),
        ("accepts", service("*:80", "deny: 192.0.2.1, invalid: accept")),
        ("elsewhere", service("203.0.113.10:82", "deny: 192.0.2.1")),
        ("cookies", service("10.0.1.1:81", "deny: 192.0.2.1, synproxy: true")),
    ];
    let services: String = services.iter().map(|(name, service)| format!("  {name}: {service}\n")).collect();
    let _daemon = lab.start(&format!("services:\n{services}"));
    let text = "nf_conntrack_tcp_loose is 0";
    assert_eq!(about(&lab, text), [] as [Value; 0]);
    for (name, what) in
        [("adopts", "`midstream: adopt` adopts no connection"), ("drops", "a program of this machine")]
    {
        lab.balancer.set_sysctl("net/netfilter/nf_conntrack_tcp_loose", "0");
        assert_eq!(about(&lab, text).len(), 2);
        is_found_and_mended(&lab, "warning", &format!("{name}: {what}"));
    }
}

#[test]
fn the_same_is_found_once_for_a_service_and_only_where_it_matters() {
    let lab = Lab::new();
    let yaml = "services:
       web: {listen: ['203.0.113.10:80', '203.0.113.10:443'], backends: ['10.99.0.1:80', '10.99.0.2:80', '10.99.0.3:80']}
       dns: {listen: '203.0.113.10:53/udp', backends: ['10.99.0.1:53']}";
    let _daemon = lab.start(yaml);
    lab.balancer.ip("route del default");
    lab.balancer
        .nft("table ip6 filter { chain forward { type filter hook forward priority 0; policy drop; };\n}");
    assert_eq!(about(&lab, "table ip6 filter"), [] as [Value; 0], "there is no IPv6 service");
    assert_eq!(about(&lab, "has no route").len(), 2);
    let lost = about(&lab, "web/10.99.0.1:80 (and 2 more of its backends) has no route");
    assert_eq!(lost[0]["command"], "ip route add 10.99.0.1 via GATEWAY");
    let found = about(&lab, "203.0.113.10 is on no interface");
    assert!(found.len() == 1 && found[0]["finding"].as_str().unwrap().starts_with("dns, web: "), "{found:?}");
    let told = lab.sluice(&["doctor"]).expect(3).stdout;
    assert!(told.contains("These commands change the running system only"), "{told}");

    lab.balancer.nft("table ip filter { chain forward { type filter hook forward priority 0; policy drop; tcp dport 80 accept; };\n}");
    let found = about(&lab, "table ip filter, chain forward drops");
    let text = found[0]["finding"].as_str().unwrap();
    assert!(
        found[0]["severity"] == "error" && text.ends_with("no packet reaches dns/10.99.0.1:53"),
        "{found:?}"
    );
}

#[test]
fn ports_of_bridges_learn_no_routes() {
    let lab = Lab::new();
    let _daemon = lab.start("services: {v6: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::11]:8080']}}");
    lab.balancer.ip("route del default via fd00:1::2");
    lab.balancer.ip("link add port type veth peer name other\nlink set port up\nlink set other up");
    for name in ["eth0", "eth1", "port", "other"] {
        lab.balancer.set_sysctl(&format!("net/ipv6/conf/{name}/accept_ra"), "1");
    }
    let learns = |name: &str| about(&lab, &format!("{name} ignores router advertisements")).len();
    eventually("it has an address", || (learns("port") == 1).then_some(()));
    lab.balancer.ip("link add br0 type bridge\nlink set port master br0");
    assert_eq!(["eth0", "port"].map(learns), [1, 0]);
}

#[test]
fn names_that_a_shell_would_take_for_something_else_are_in_no_command() {
    let lab = Lab::new();
    let _daemon = lab.start("services: {v6: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::11]:8080']}}");
    lab.balancer.ip("route del default via fd00:1::2\nlink add $(id) type veth peer name other\nlink set $(id) up\nlink set other up");
    lab.balancer.set_sysctl("net/ipv6/conf/$(id)/accept_ra", "1");
    let found = eventually("it has an address", || {
        about(&lab, "$(id) ignores router advertisements").first().cloned()
    });
    assert!(found["command"].is_null(), "{found}");
}

#[test]
fn change_by_others_is_told() {
    let lab = Lab::new();
    lab.configure(&web());
    let _daemon = Daemon::start_with(&lab, &[("SLUICE_UNOWNED", "1")]);
    lab.balancer.sh("nft flush ruleset");
    eventually("it is told", || about(&lab, "nft (pid ").first().map(|_| ()));
}
