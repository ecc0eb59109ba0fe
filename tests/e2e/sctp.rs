//! SCTP associations. Kernels without SCTP cannot run these; `make kernels` does, on those that have the module.

use serde_json::Value;
use sluice_testkit::{Answer, Lab, Shares, eventually};

const CLIENT: &str = "10.0.1.2:0";
const CLIENT6: &str = "[fd00:1::2]:0";

/// Backends that answer on port 2905, and the key of a service that names two of them.
fn lab() -> Lab {
    let lab = Lab::new();
    for (n, backend) in (11..).zip(&lab.backends) {
        backend.serve_sctp_on(&format!("10.0.2.{n}:2905"));
        backend.serve_sctp_on(&format!("[fd00:2::{n}]:2905"));
    }
    lab
}

fn associate(lab: &Lab, from: &str, to: &str, count: usize) -> Vec<Answer> {
    let one = |n| lab.client.open_sctp(from, to).unwrap_or_else(|e| panic!("{to}, number {n}: {e}")).answer;
    (1..=count).map(one).collect()
}

/// Backends of the service `m3ua`.
fn backends(lab: &Lab) -> Vec<Value> {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let mut services = status["services"].as_array().expect("a list").iter();
    let m3ua = services.find(|service| service["name"] == "m3ua").expect("the service");
    m3ua["backends"].as_array().expect("a list").clone()
}

fn connections(lab: &Lab, service: &str) -> Vec<Value> {
    let listed = lab.sluice(&["connections", service, "--json"]).expect(0).json();
    listed["connections"].as_array().expect("a list").clone()
}

#[test]
#[ignore = "takes a kernel with SCTP"]
fn associations_are_balanced_translated_counted_and_refused() {
    let lab = lab();
    let _daemon = lab.start(
        "services:
           m3ua: {listen: ['203.0.113.10:2900/sctp', '[2001:db8::10]:2900/sctp'], backends: ['10.0.2.11:2905', \
             '10.0.2.12:2905', '[fd00:2::11]:2905', '[fd00:2::12]:2905']}
           kept: {listen: '203.0.113.10:2905/sctp', source: preserve, affinity: 10m, backends: ['10.0.2.11', '10.0.2.12']}
           range: {listen: '203.0.113.10:2910-2919/sctp', backends: ['10.0.2.13:2905']}
           none: {listen: '203.0.113.10:2999/sctp', backends: []}",
    );
    let both = Shares::from([("b1", 3), ("b2", 3)]);
    for (from, to) in [(CLIENT, "203.0.113.10:2900"), (CLIENT6, "[2001:db8::10]:2900")] {
        assert_eq!(Shares::of(&associate(&lab, from, to, 6)), both, "{to}");
    }
    assert_eq!(associate(&lab, CLIENT, "203.0.113.10:2915", 1)[0].backend, "b3");
    assert_eq!(associate(&lab, CLIENT, "203.0.113.10:2900", 1)[0].peer.ip().to_string(), "10.0.2.1");
    let stays = associate(&lab, CLIENT, "203.0.113.10:2905", 4);
    assert!(stays.iter().all(|answer| answer.backend == stays[0].backend), "affinity: {stays:?}");
    assert!(stays.iter().all(|answer| answer.peer.ip().to_string() == "10.0.1.2"), "preserve: {stays:?}");

    let mut held = lab.client.open_sctp(CLIENT, "203.0.113.10:2915").expect("an association");
    assert_eq!(held.echo("hello").expect("an echo"), "hello");
    let listed = connections(&lab, "range");
    let established: Vec<_> = listed.iter().filter(|it| it["state"] == "established").collect();
    assert_eq!((established.len(), &established[0]["protocol"]), (1, &Value::from("sctp")), "{listed:?}");

    let totals: Vec<_> = backends(&lab)
        .iter()
        .map(|backend| backend["connections_total"].as_u64().expect("a count"))
        .collect();
    // Associations of both IP versions, and one that asked for the source address.
    assert_eq!(totals[..2].iter().sum::<u64>(), 7, "{totals:?}");
    assert_eq!(totals[2..], [3, 3]);

    // Linux tells no client of SCTP of it, unless the client asked for errors.
    let unreachable = || lab.client.statistic("Icmp", "InDestUnreachs");
    let before = unreachable();
    lab.client.open_sctp(CLIENT, "203.0.113.10:2999").expect_err("nobody serves");
    assert!(unreachable() > before);
}

#[test]
#[ignore = "takes a kernel with SCTP"]
fn association_that_opens_while_its_backend_dies_gets_another() {
    let lab = lab();
    let _daemon = lab.start(
        "services: {m3ua: {listen: '203.0.113.10:2905/sctp', backends: ['10.0.2.11', '10.0.2.12'], \
           health: {sctp: {}, interval: 1s, timeout: 500ms, rise: 1, fall: 1}}}",
    );
    eventually("both are probed", || backends(&lab).iter().all(|it| it["health"] == "healthy").then_some(()));
    lab.backends[0]
        .sh("nft 'add table ip dead; add chain ip dead input { type filter hook input priority 0; }; \
                        add rule ip dead input ip protocol sctp drop'");
    // One of two goes to it. Its client sends INIT again after three seconds, when the flow to b1 is forgotten.
    assert_eq!(Shares::of(&associate(&lab, CLIENT, "203.0.113.10:2905", 2)), Shares::from([("b2", 2)]));
    assert_eq!(backends(&lab)[0]["health"], "unhealthy");
    let flows = connections(&lab, "m3ua");
    assert!(!flows.is_empty() && flows.iter().all(|flow| flow["address"] == "10.0.2.12:2905"), "{flows:?}");
}

#[test]
#[ignore = "takes a kernel with SCTP"]
fn backend_that_refuses_associations_gets_no_new_ones() {
    let lab = lab();
    let _daemon = lab.start(
        "services: {m3ua: {listen: '203.0.113.10:2905/sctp', backends: ['10.0.2.11', '10.0.2.12'], \
           health: {sctp: {}, interval: 1s, timeout: 500ms, rise: 1, fall: 1}}}",
    );
    let wait_for = |index: usize, health: &str| {
        let is_it = || (backends(&lab)[index]["health"] == health).then_some(());
        eventually(&format!("backend {index} is {health}"), is_it);
    };
    wait_for(0, "healthy");
    wait_for(1, "healthy");
    let told = lab.sluice(&["doctor"]);
    assert!(!told.stdout.contains("SCTP"), "{}", told.stdout);
    let mut held = lab.client.open_sctp(CLIENT, "203.0.113.10:2905").expect("an association");
    let (gone, left) = if held.answer.backend == "b1" { (1, "b1") } else { (0, "b2") };
    lab.backends[gone].silence();
    wait_for(gone, "unhealthy");
    let answers = associate(&lab, CLIENT, "203.0.113.10:2905", 4);
    assert_eq!(Shares::of(&answers), Shares::from([(left, 4)]));
    assert_eq!(held.echo("still here").expect("an echo"), "still here");
}
