//! What the unit does when it is started, reloaded and stopped.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_testkit::{Shares, eventually};

use crate::VIP;
use crate::machine::{Machine, web};

/// Three lines that are all there is, the second with a key that is none.
const BAD: &str = "services:\n  web:\n    lisen: 203.0.113.10:80";

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn start_ends_when_the_kernel_has_it_and_stop_takes_it_back() {
    let machine = Machine::installed();
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced");
    let ruleset = machine.lab.ruleset();
    assert!(ruleset.contains("10.0.2.14 . 8080"), "{ruleset}");
    assert_eq!(machine.lab.client.tcp_shares(40, VIP), machine.lab.even(10));
    assert_eq!(machine.property("StatusText"), "1 service with 4 backends, in sync");
    assert_eq!(
        machine.sh("stat --format='%U %G %a' /run/sluice /run/sluice/sluice.sock"),
        "sluice sluice 755\nsluice sluice 660\n"
    );

    machine.sh("systemctl stop sluiced");
    assert_eq!(machine.lab.ruleset(), "");
    assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0");
    assert!(machine.lab.client.tcp(VIP).is_err());
    assert_eq!(
        (machine.property("Result"), machine.property("ExecMainStatus")),
        ("success".into(), "0".into())
    );
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn reload_ends_when_the_new_file_is_in_force() {
    let machine = Machine::serving();
    let mut open = machine.lab.client.open(VIP).unwrap();
    let pid = machine.property("MainPID");
    machine.configure(&web(&[2]));
    machine.sh("systemctl reload sluiced");
    assert_eq!(machine.lab.client.tcp_shares(4, VIP), Shares::from([("b2", 4)]));
    assert_eq!(open.echo("still there?").unwrap(), "still there?");

    machine.configure(&web(&[3]));
    machine.sh("kill -HUP $(systemctl show --property=MainPID --value sluiced)");
    eventually("the hang-up is heard", || (machine.lab.client.tcp(VIP).ok()?.backend == "b3").then_some(()));
    assert_eq!(machine.property("MainPID"), pid);
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn reload_of_a_bad_file_fails_says_where_and_changes_nothing() {
    let machine = Machine::serving();
    let before = machine.lab.ruleset();
    machine.configure(BAD);
    let reload = machine.run("systemctl reload sluiced");
    assert_ne!(reload.code, Some(0));
    assert!(reload.stderr.contains("Job for sluiced.service failed"), "{}", reload.stderr);
    let place = "/etc/sluice/sluice.yaml:3:5: error: unknown key `lisen` (did you mean `listen`?)";
    let status = machine.sh("journalctl --sync; systemctl status --no-pager --full --lines=20 sluiced");
    assert!(status.contains(place), "{status}");
    assert!(status.contains("in sync; reload failed with"), "{status}");

    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.lab.ruleset(), before);
    assert_eq!(machine.lab.client.tcp_shares(40, VIP), machine.lab.even(10));
    machine.configure(&web(&[2]));
    machine.sh("systemctl reload sluiced");
    assert_eq!(machine.property("StatusText"), "1 service with 1 backend, in sync");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn start_with_a_bad_file_fails_once_and_says_where() {
    let machine = Machine::installed();
    machine.configure(BAD);
    assert_ne!(machine.run("systemctl start sluiced").code, Some(0));
    // `auto-restart` if it were to be tried again.
    let state = || (machine.property("SubState"), machine.property("NRestarts"));
    assert_eq!(state(), ("failed".into(), "0".into()));
    let journal = machine.journal();
    assert!(journal.contains("/etc/sluice/sluice.yaml:3:5: error: unknown key `lisen`"), "{journal}");
    assert!(journal.contains("Control process exited, code=exited, status=78/CONFIG"), "{journal}");
    assert_eq!(machine.lab.ruleset(), "");

    // The daemon by itself, as when the file goes bad between the check and the start.
    machine.drop_in("ExecStartPre=");
    assert_ne!(machine.run("systemctl start sluiced").code, Some(0));
    assert_eq!(state(), ("failed".into(), "0".into()));
    assert_eq!(machine.property("ExecMainStatus"), "78");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn start_without_the_capability_fails_once() {
    let machine = Machine::installed();
    machine.drop_in("CapabilityBoundingSet=\nAmbientCapabilities=");
    assert_ne!(machine.run("systemctl start sluiced").code, Some(0));
    assert_eq!(
        (machine.property("SubState"), machine.property("ExecMainStatus")),
        ("failed".into(), "77".into())
    );
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn journal_has_severities_and_fields() {
    let machine = Machine::serving();
    machine.configure(BAD);
    machine.run("systemctl reload sluiced");
    let text = machine
        .sh("journalctl --sync; journalctl --output=json --identifier=sluiced _SYSTEMD_UNIT=sluiced.service");
    let entries: Vec<BTreeMap<String, Value>> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let find = |message: &str| {
        let found =
            entries.iter().find(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains(message)));
        found.unwrap_or_else(|| panic!("no {message} in:\n{text}"))
    };
    let ready = find("ready: 1 service with 4 backends");
    assert_eq!(ready["PRIORITY"], "5", "{ready:?}");
    assert!(ready["TARGET"].as_str().is_some_and(|module| module.starts_with("sluiced::")), "{ready:?}");
    assert_eq!(find("unknown key `lisen`")["PRIORITY"], "3");
    let round = find("added, 0 changed");
    assert_eq!((&round["F_ROUND"], &round["F_TRIGGER"]), (&"1".into(), &"start".into()), "{round:?}");
    // Nothing that the sandbox forbids is missed.
    let complaints: Vec<_> = entries
        .iter()
        .filter(|entry| ["0", "1", "2", "4"].contains(&entry["PRIORITY"].as_str().unwrap()))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
