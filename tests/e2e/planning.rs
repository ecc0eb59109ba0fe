//! `sluice plan` with a daemon, which knows state beside the file, and without one.

use sluice_testkit::{Lab, eventually};

const VIP: &str = "203.0.113.10:80";

/// Services whose effective state differs from the file: probes, a backup, slow start, load.
fn services() -> String {
    let health = "health: {tcp: {}, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}";
    format!(
        "services:
  web:
    listen: {VIP}
    {health}
    slow_start: 60s
    backends: [10.0.2.11:8080, 10.0.2.12:8080, {{address: 10.0.2.13:8080, name: sorry, backup: true}}]
  load:
    listen: 203.0.113.10:81
    scheduler: least-connections
    backends: [10.0.2.11:8080, {{address: 10.0.2.12:8080, max_connections: 1}}]
  late:
    listen: 203.0.113.10:82
    health: {{tcp: {{}}, port: 1, initial: down}}
    backends: [10.0.2.14:8080]"
    )
}

fn health(lab: &Lab, backend: usize) -> String {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let services = status["services"].as_array().unwrap().clone();
    let web = services.iter().find(|service| service["name"] == "web").unwrap();
    web["backends"][backend]["health"].as_str().unwrap().to_owned()
}

#[track_caller]
fn is_empty(lab: &Lab, when: &str) {
    let told = lab.sluice(&["plan"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "nothing to do\n"), "{when}: {}", told.stderr);
}

#[test]
fn plan_beside_a_daemon_is_empty_whatever_becomes_of_backends() {
    let lab = Lab::new();
    let mut daemon = lab.start(&services());
    eventually("all are probed", || (health(&lab, 0) == "healthy").then_some(()));
    is_empty(&lab, "all healthy, one is a backup, one waits for its first probe");
    lab.backends[0].silence();
    eventually("b1 is down", || (health(&lab, 0) == "unhealthy").then_some(()));
    is_empty(&lab, "one is down");
    lab.backends[0].serve(8080);
    eventually("b1 is back", || (health(&lab, 0) == "healthy").then_some(()));
    is_empty(&lab, "one is ramping");
    lab.sluice(&["drain", "web/10.0.2.12:8080"]).expect(0);
    is_empty(&lab, "one is drained");
    let _open: Vec<_> = (0..4).map(|_| lab.client.open("203.0.113.10:81").unwrap()).collect();
    eventually("one is full", || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        status.to_string().contains("\"full\":true").then_some(())
    });
    is_empty(&lab, "one is full");

    // The plan of another file uses the current state: the drained backend stays drained.
    let other = lab.path("other.yaml");
    lab.configure(&services().replace("10.0.2.14:8080", "10.0.2.13:8080").replace(", initial: down", ""));
    std::fs::rename(lab.config(), &other).unwrap();
    lab.configure(&services());
    let before = lab.ruleset();
    let told = lab.sluice(&["plan", other.to_str().unwrap()]).expect(3).stdout;
    assert!(told.contains("10.0.2.13") && !told.contains("10.0.2.12"), "{told}");
    assert_eq!(lab.ruleset(), before);
    let json = lab.sluice(&["plan", "--json", other.to_str().unwrap()]).expect(3).json();
    assert_eq!(json["text"], told);
    daemon.reload(&std::fs::read_to_string(&other).unwrap().replace("control:", "# control:"));
    is_empty(&lab, "after a reload");
}

#[test]
fn commands_without_a_daemon_give_a_backup_nothing() {
    let lab = Lab::new();
    let sorry = format!(
        "services: {{web: {{listen: '{VIP}', backends: [10.0.2.11:8080, {{address: 10.0.2.12:8080, backup: true}}]}},
          late: {{listen: 203.0.113.10:81, health: {{tcp: {{}}, initial: down}}, backends: [10.0.2.13:8080]}}}}"
    );
    lab.configure(&sorry);
    let file = lab.config();
    let file = file.to_str().unwrap();
    for arguments in [&["render"][..], &["render", "--format", "iptables"], &["plan"]] {
        let told = lab.sluice(arguments).stdout;
        // The backup may be in the set of masqueraded backends, but has no slot.
        assert!(told.contains("10.0.2.11"), "{arguments:?}: {told}");
        assert!(
            !told.contains(": 10.0.2.12 . 8080") && !told.contains("DNAT --to-destination 10.0.2.12"),
            "{told}"
        );
        assert!(
            !told.contains(": 10.0.2.13 . 8080") && !told.contains("DNAT --to-destination 10.0.2.13"),
            "{told}"
        );
    }
    let told = lab.sluice(&["explain", "198.51.100.7", VIP]).expect(0).stdout;
    assert!(told.contains("10.0.2.11:8080\n") && !told.contains("10.0.2.12:8080  "), "{told}");
    let applied = lab.sluice(&["apply", file]).expect(0);
    assert!(
        applied.stderr.contains("late: no backend gets connections: all wait for their first probe"),
        "{}",
        applied.stderr
    );
    let shares = lab.client.tcp_shares(10, VIP);
    assert_eq!(shares, sluice_testkit::Shares::from([("b1", 10)]));
    let applied = lab.ruleset();
    let _daemon = lab.start(&sorry);
    assert_eq!(lab.ruleset(), applied);
}
