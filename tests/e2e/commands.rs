//! The command line against a real kernel.

use std::process::Command;

use sluice_testkit::{Lab, Namespace, Shares, program};

use crate::web;

const VIP: &str = "203.0.113.10:80";
const FORWARD4: &str = "net/ipv4/ip_forward";

/// Services of every shape, both IP versions.
const EVERYTHING: &str = "
services:
  web: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], backends: ['10.0.2.11:8080', '10.0.2.12:8080']}
  six: {listen: '[2001:db8::10]:80', scheduler: random, backends: ['[fd00:2::11]:8080', '[fd00:2::12]:8080']}
  hash: {listen: '203.0.113.10:81', scheduler: source-hash, source: preserve, backends: ['10.0.2.13:8080']}
  any: {listen: '*:82', interface: eth0, backends: ['10.0.2.14:8080']}
  local: {listen: '*:83', scheduler: random, backends: ['10.0.2.14:8080']}
  range: {listen: '203.0.113.10:1000-1003', backends: ['10.0.2.11', '10.0.2.12']}
  shifted: {listen: '203.0.113.10:2000-2003', backends: ['10.0.2.11:3000-3003']}
  empty: {listen: ['203.0.113.10:99', '203.0.113.10:99/udp'], backends: []}";

#[test]
fn status_tells_services_backends_and_their_connections() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    lab.client.tcp_times(40, VIP);
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let service = &status["services"][0];
    assert_eq!(service["name"], "web");
    assert_eq!(service["listeners"][0], "203.0.113.10:80/tcp");
    assert_eq!(service["scheduler"], "round-robin");
    for (n, backend) in service["backends"].as_array().unwrap().iter().enumerate() {
        assert_eq!(backend["address"], format!("10.0.2.1{}:8080", n + 1));
        assert_eq!(backend["name"], backend["address"]);
        assert_eq!(backend["share"], 0.25);
        assert_eq!(backend["connections_total"], 10);
    }
    let shown = lab.sluice(&["status"]).expect(0).stdout;
    assert!(shown.contains("web") && shown.contains("10.0.2.14:8080"), "{shown}");
    let rows = lab.sluice(&["status", "--no-headers"]).expect(0).stdout;
    assert!(shown.contains("CONNECTIONS") && !rows.contains("CONNECTIONS"), "{rows}");
    assert!(rows.contains("web: up") && rows.contains("10.0.2.14:8080"), "{rows}");
    lab.sluice(&["status", "--no-headers", "--json"]).expect(2);
    lab.sluice(&["status", "nobody"]).expect(1);
}

#[test]
fn bash_completes_names_of_the_running_daemon() {
    let lab = Lab::new();
    let script = lab.sluice(&["completions", "bash"]).expect(0).stdout;
    let folder = program("sluice").parent().unwrap().display().to_string();
    let complete = |line: &str| {
        let text = format!(
            "{script}\nPATH=\"{folder}:$PATH\"; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; \
             COMP_WORDS=($COMP_LINE ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _sluice sluice '' ''; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &text]).env("SLUICE_CONFIG", lab.config());
        lab.finish(&mut bash).expect(0).stdout
    };
    let options = complete("sluice status ");
    assert!(options.contains("--watch"), "without a daemon it completes options: {options}");
    let _daemon = lab.start(&web());
    assert_eq!(complete("sluice status "), "web\n");
    assert_eq!(complete("sluice drain web/10.0.2.14"), "web/10.0.2.14:8080\n");
    assert_eq!(complete("sluice reset web/10.0.2.11:8080 web/10.0.2.12:"), "8080\n");
    let socket = lab.path("sluice.sock");
    assert_eq!(complete(&format!("sluice -c /none --socket {} connections w", socket.display())), "web\n");
    assert!(complete("sluice --socket /none status ").contains("--watch"));
}

#[test]
fn plan_shows_what_apply_then_does() {
    let lab = Lab::new();
    lab.configure(&web());
    let plan = lab.sluice(&["plan"]).expect(3).stdout;
    assert!(plan.contains("10.0.2.11"), "{plan}");
    assert_eq!(lab.ruleset(), "");

    lab.sluice(&["apply", lab.config().to_str().unwrap()]).expect(0);
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));
    lab.sluice(&["plan"]).expect(0);

    lab.configure("services: {web: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080']}}");
    lab.sluice(&["plan"]).expect(3);
    lab.sluice(&["apply", lab.config().to_str().unwrap()]).expect(0);
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b1", 4)]));
    lab.sluice(&["plan"]).expect(0);
}

#[test]
fn apply_while_a_daemon_runs_is_refused() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    let before = lab.ruleset();
    lab.configure("services: {}");
    let refused = lab.sluice(&["apply", lab.config().to_str().unwrap()]).expect(1).stderr;
    assert!(refused.contains("sluiced") && refused.contains("reload"), "{refused}");
    assert_eq!(lab.ruleset(), before);
    lab.sluice(&["plan"]).expect(3);
}

#[test]
fn daemon_adopts_what_apply_left() {
    let lab = Lab::new();
    lab.configure(&web());
    lab.sluice(&["apply", lab.config().to_str().unwrap()]).expect(0);
    let applied = lab.ruleset();
    let _daemon = lab.start(&web());
    assert_eq!(lab.ruleset(), applied);
}

#[test]
fn cleanup_removes_everything_and_only_ours() {
    let lab = Lab::new();
    lab.balancer.sh("nft add table inet other");
    lab.start(&web()).crash();
    assert_eq!(lab.balancer.sysctl(FORWARD4), "1");
    lab.sluice(&["cleanup"]).expect(0);
    assert_eq!(lab.ruleset(), "table inet other {\n}\n");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0");
    lab.sluice(&["cleanup"]).expect(0);
}

#[test]
fn cleanup_while_a_daemon_runs_is_refused() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    let before = lab.ruleset();
    let refused = lab.sluice(&["cleanup"]).expect(1).stderr;
    assert!(refused.contains("sluiced"), "{refused}");
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
}

#[test]
fn listing_of_a_running_ruleset_loads_again_and_is_json() {
    let lab = Lab::new();
    let _daemon = lab.start(EVERYTHING);
    let listing = lab.ruleset();
    assert_eq!(load(&listing), listing);
    let json = lab.balancer.sh("nft -j list ruleset");
    serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
}

#[test]
fn rendered_nft_is_what_the_daemon_programs() {
    let lab = Lab::new();
    let _daemon = lab.start(EVERYTHING);
    let rendered =
        lab.sluice(&["render", lab.config().to_str().unwrap(), "--format", "nft"]).expect(0).stdout;
    assert_eq!(load(&rendered), lab.ruleset());
    let json = lab.sluice(&["render", lab.config().to_str().unwrap(), "--format", "json"]).expect(0);
    assert!(json.json().is_object() || json.json().is_array());
}

/// Loads a ruleset into an empty kernel and lists it.
fn load(ruleset: &str) -> String {
    let elsewhere = Namespace::new();
    elsewhere.nft(ruleset);
    elsewhere.sh("nft --stateless list ruleset")
}

#[test]
fn connections_tell_who_is_connected_to_what() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    let _open: Vec<_> = (0..4).map(|_| lab.client.open(VIP).unwrap()).collect();
    let all = lab.sluice(&["connections", "web", "--json"]).expect(0).json();
    assert_eq!(all["total"], 4);
    for (n, it) in all["connections"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&it["service"], &it["protocol"], &it["state"]),
            (&"web".into(), &"tcp".into(), &"established".into())
        );
        assert_eq!(
            (&it["backend"], &it["listener"]),
            (&format!("10.0.2.1{}:8080", n + 1).into(), &VIP.into())
        );
        assert!(it["client"].as_str().unwrap().starts_with("10.0.1.2:"));
        assert!(it["source"].as_str().unwrap().starts_with("10.0.2.1:"), "masquerade");
    }
    let one = lab.sluice(&["connections", "web/10.0.2.11:8080"]).expect(0).stdout;
    assert_eq!(one.lines().count(), 2, "{one}");
    let some = lab.sluice(&["connections", "--limit", "1"]).expect(0).stdout;
    assert!(some.ends_with("1 of 4 shown: add a service or backend, or raise --limit\n"), "{some}");
    lab.sluice(&["connections", "wob"]).expect(1);
}

#[test]
fn every_command_finds_the_daemon_by_its_file() {
    let lab = Lab::new();
    let _daemon = lab.start(&web());
    let file = lab.config();
    let sluice = |arguments: &[&str]| {
        let mut command = Command::new(program("sluice"));
        command.arg("-c").arg(&file).args(arguments).env_remove("SLUICE_SOCKET").env_remove("SLUICE_CONFIG");
        lab.finish(&mut command)
    };
    for arguments in [
        &["status"][..],
        &["connections"],
        &["reload"],
        &["drain", "web/10.0.2.11:8080"],
        &["weight", "web/10.0.2.11:8080", "3"],
        &["disable", "web/10.0.2.11:8080"],
        &["enable", "web/10.0.2.11:8080"],
        &["plan"],
    ] {
        sluice(arguments).expect(0);
    }
    // Also while the file is being edited.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("listen", "lisen")).unwrap();
    sluice(&["status"]).expect(0);
    sluice(&["plan"]).expect(78);
}
