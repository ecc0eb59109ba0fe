//! Affinity: clients keep their backend.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};

use sluice_testkit::{Lab, Shares, eventually};

const LISTENERS: &str =
    "203.0.113.10:80, 203.0.113.10:53/udp, '[2001:db8::10]:80', '[2001:db8::10]:53/udp', 203.0.113.10:81";

static PORT: AtomicU16 = AtomicU16::new(20_000);

/// Two backends of each IP version, with frequent probes.
fn affine(keys: &str, backends: &[u8]) -> String {
    let backends: Vec<_> =
        backends.iter().map(|n| format!("10.0.2.{n}:8080, '[fd00:2::{n}]:8080'")).collect();
    format!(
        "services: {{web: {{listen: [{LISTENERS}], backends: [{}], scheduler: random, affinity: 10m{keys}}}}}",
        backends.join(", ")
    )
}

/// The backend of each client. Further connections, over TCP and UDP, must get the same one.
fn homes(lab: &Lab) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for n in 1..=12 {
        for (client, vip) in
            [(format!("198.51.100.{n}"), "203.0.113.10"), (format!("[2001:db8:c::{n}]"), "[2001:db8::10]")]
        {
            let from = format!("{client}:0");
            let tcp = || lab.client.tcp_from(&from, &format!("{vip}:80")).unwrap().backend;
            // From a port without a conntrack entry.
            let any_port = || PORT.fetch_add(1, Ordering::Relaxed);
            let udp = || {
                let from = format!("{client}:{}", any_port());
                lab.client.udp_from(&from, &format!("{vip}:53")).unwrap().backend
            };
            let home = tcp();
            for _ in 0..3 {
                assert_eq!([udp(), tcp()], [&*home, &home], "{client} moved");
            }
            homes.insert(client, home);
        }
    }
    homes
}

fn at<'a>(homes: &'a BTreeMap<String, String>, backend: &str) -> Vec<&'a String> {
    homes.iter().filter(|(_, home)| *home == backend).map(|(client, _)| client).collect()
}

#[test]
fn client_stays_through_reload_restart_and_crash() {
    let lab = Lab::new();
    let mut daemon = lab.start(&affine("", &[11, 12]));
    let before = homes(&lab);
    assert!(!at(&before, "b1").is_empty() && !at(&before, "b2").is_empty(), "{before:?}");
    daemon.reload(&affine(", on_down: reset", &[11, 12, 13]));
    assert_eq!(homes(&lab), before);
    daemon.crash();
    let daemon = lab.start(&affine("", &[11, 12, 13]));
    assert_eq!(homes(&lab), before);
    drop(daemon);
}

/// The backends that some clients get at a port, over TCP.
fn homes_at(lab: &Lab, port: u16) -> Vec<String> {
    let client = |n: u8| {
        [(format!("198.51.100.{n}:0"), "203.0.113.10"), (format!("[2001:db8:c::{n}]:0"), "[2001:db8::10]")]
    };
    let home =
        |(from, vip): (String, &str)| lab.client.tcp_from(&from, &format!("{vip}:{port}")).unwrap().backend;
    (1..=20).flat_map(client).map(home).collect()
}

/// Clients connect to port 80 first and then to port 443; `backends` are on those ports or on 8080.
fn ports(listen: &[&str], backends: [&str; 4]) -> String {
    format!(
        "services: {{web: {{listen: [{}], backends: [{}], scheduler: random, affinity: 10m}}}}",
        listen.join(", "),
        backends.join(", ")
    )
}

const ON_8080: [&str; 4] = ["10.0.2.11:8080", "10.0.2.12:8080", "'[fd00:2::11]:8080'", "'[fd00:2::12]:8080'"];

#[test]
fn client_of_one_port_is_known_at_every_other_of_the_service() {
    let lab = Lab::new();
    for backend in &lab.backends[..2] {
        backend.serve(80);
        backend.serve(443);
    }
    let listen = ["203.0.113.10:80", "203.0.113.10:443", "'[2001:db8::10]:80'", "'[2001:db8::10]:443'"];
    let mixed = ["10.0.2.11", "10.0.2.12:8080", "'[fd00:2::11]'", "'[fd00:2::12]:8080'"];
    let kept = ["10.0.2.11", "10.0.2.12", "'[fd00:2::11]'", "'[fd00:2::12]'"];
    for backends in [ON_8080, kept, mixed] {
        let daemon = lab.start(&ports(&listen, backends));
        let homes = homes_at(&lab, 80);
        for backend in ["b1", "b2"] {
            assert!(homes.iter().filter(|home| *home == backend).count() > 5, "{homes:?}");
        }
        assert_eq!(homes_at(&lab, 443), homes, "{backends:?}");
        assert_eq!(homes_at(&lab, 80), homes, "{backends:?}");
        // The next daemon must not know these clients, or too few are left whose backend is chosen by chance.
        assert!(daemon.stop().success());
    }
}

#[test]
fn client_stays_at_listeners_that_a_reload_adds_and_when_its_own_goes() {
    let lab = Lab::new();
    let mut daemon = lab.start(&ports(&["203.0.113.10:80", "'[2001:db8::10]:80'"], ON_8080));
    let homes = homes_at(&lab, 80);
    let all = [
        "203.0.113.10:22",
        "'[2001:db8::10]:22'",
        "203.0.113.10:80",
        "'[2001:db8::10]:80'",
        "203.0.113.10:443",
        "'[2001:db8::10]:443'",
    ];
    daemon.reload(&ports(&all, ON_8080));
    assert_eq!(homes_at(&lab, 443), homes);
    assert_eq!(homes_at(&lab, 22), homes);
    daemon.crash();
    let mut daemon = lab.start(&ports(&all[2..], ON_8080));
    assert_eq!(homes_at(&lab, 443), homes);
    daemon.reload(&ports(&all[4..], ON_8080));
    assert_eq!(homes_at(&lab, 443), homes);
    drop(daemon);
}

#[test]
fn client_of_another_service_at_the_same_address_is_another_client() {
    let lab = Lab::new();
    let service = |port| {
        let listen = format!("203.0.113.10:{port}, '[2001:db8::10]:{port}'");
        format!(
            "{{listen: [{listen}], backends: [{}], scheduler: random, affinity: 10m}}",
            ON_8080.join(", ")
        )
    };
    let mut daemon = lab.start(&format!("services: {{a: {}, b: {}}}", service(80), service(81)));
    let (at_80, at_81) = (homes_at(&lab, 80), homes_at(&lab, 81));
    let differ = at_80.iter().zip(&at_81).filter(|(a, b)| a != b).count();
    assert!(differ > 5, "{differ} of 40");
    // When a port moves to another service, its clients do not get backends of the first one.
    let b = service(80).replace("10.0.2.11", "10.0.2.13").replace("10.0.2.12", "10.0.2.14");
    let b = b.replace("::11", "::13").replace("::12", "::14");
    daemon.reload(&format!("services: {{a: {}, b: {b}}}", service(81)));
    assert_eq!(homes_at(&lab, 81), at_81);
    assert!(homes_at(&lab, 80).iter().all(|home| home == "b3" || home == "b4"));
}

#[test]
fn client_leaves_a_backend_that_goes_down_and_does_not_go_back() {
    let lab = Lab::new();
    let _daemon = lab
        .start(&affine(", health: {tcp: {}, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}", &[11, 12]));
    let before = homes(&lab);
    let health = |index: usize| {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        status["services"][0]["backends"][index]["health"].as_str().unwrap().to_owned()
    };
    eventually("both are healthy", || (0..4).all(|n| health(n) == "healthy").then_some(()));
    lab.backends[0].silence();
    eventually("b1 is down", || (health(0) == "unhealthy" && health(1) == "unhealthy").then_some(()));
    let meanwhile = homes(&lab);
    assert!(at(&meanwhile, "b1").is_empty());
    lab.backends[0].serve(8080);
    eventually("b1 is back", || (health(0) == "healthy" && health(1) == "healthy").then_some(()));
    assert_eq!(homes(&lab), meanwhile);
    assert!(before.len() == meanwhile.len());
}

#[test]
fn client_leaves_a_backend_that_is_removed_or_disabled_and_stays_on_one_that_drains() {
    let lab = Lab::new();
    let mut daemon = lab.start(&affine("", &[11, 12]));
    let before = homes(&lab);
    for backend in ["web/10.0.2.11:8080", "web/[fd00:2::11]:8080"] {
        lab.sluice(&["drain", backend]).expect(0);
    }
    assert_eq!(homes(&lab), before);
    let new: Vec<_> = (100..120)
        .map(|n| lab.client.tcp_from(&format!("198.51.100.{n}:0"), "203.0.113.10:80").unwrap().backend)
        .collect();
    assert!(new.iter().all(|backend| backend == "b2"), "{new:?}");
    for backend in ["web/10.0.2.11:8080", "web/[fd00:2::11]:8080"] {
        lab.sluice(&["disable", backend]).expect(0);
    }
    assert!(at(&homes(&lab), "b1").is_empty());
    daemon.reload(&affine("", &[11, 13]));
    let homes = homes(&lab);
    assert_eq!(at(&homes, "b3").len(), homes.len());
}

#[test]
fn affinity_ends_in_time_and_is_listed_and_counted() {
    let lab = Lab::new();
    let _daemon = lab.start(&affine("", &[11, 12]).replace("affinity: 10m", "affinity: 1s"));
    assert_eq!(lab.client.tcp_times(20, "203.0.113.10:80").len(), 20);
    let listed = lab.balancer.sh("nft list ruleset");
    assert!(listed.contains("10.0.1.2 . 203.0.113.10 . 80 timeout 1s expires"), "{listed}");
    let counted = || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        let of = |backend: &serde_json::Value| backend["connections_total"].as_u64().unwrap();
        status["services"][0]["backends"].as_array().unwrap().iter().map(of).sum::<u64>()
    };
    assert_eq!(counted(), 20);
    eventually("it is forgotten", || {
        let list = lab.balancer.sh("nft list map inet sluice clients4");
        (!list.contains("10.0.1.2 .")).then_some(())
    });
    let mut shares = Shares::default();
    eventually("the client moves", || {
        shares = lab.client.tcp_shares(1, "203.0.113.10:80");
        let listed = || lab.balancer.sh("nft list map inet sluice clients4").contains("10.0.1.2 .");
        eventually("it is forgotten again", || (!listed()).then_some(()));
        (shares == Shares::from([("b1", 1)])).then_some(())
    });
}
