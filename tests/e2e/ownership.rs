//! Changes of the table by other programs, with and without an owner.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use sluice_testkit::{Daemon, Finished, Lab, eventually};

use crate::{FOUR, web};

const VIP: &str = "203.0.113.10:80";

#[test]
fn reload_while_somebody_hammers_another_table_succeeds_every_time() {
    const RELOADS: usize = 20;
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lab.balancer.nft("add table ip other\ndelete table ip other");
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..RELOADS {
            let weight = 1 + n % 3;
            daemon.reload(&format!(
                "services: {{web: {{listen: '{VIP}', backends: [{{address: '10.0.2.11:8080', weight: {weight}}}, \
                 10.0.2.12:8080]}}}}"
            ));
            eventually("the other program writes", || (written.load(Ordering::Relaxed) > n).then_some(()));
        }
        daemon.reload(&web());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(daemon.logged("reload failed"), 0, "{}", daemon.log());
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));
    lab.sluice(&["plan"]).expect(0);
}

/// With this variable the daemon creates the table without `owner` and `persist`, as on older kernels.
const UNOWNED: &[(&str, &str)] = &[("SLUICE_UNOWNED", "1")];

/// Flags of a table that the daemon creates on this kernel: `persist` exists since Linux 6.9, and sluice does not use `owner`
/// without it. Derived from the version here, while the daemon tests the kernel.
fn ours() -> serde_json::Value {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<u32> = release.split('.').take(2).map(|number| number.parse().unwrap()).collect();
    if version >= vec![6, 9] { json!(["owner", "persist"]) } else { json!([]) }
}

/// Flags of the table in the status.
fn flags(lab: &Lab) -> serde_json::Value {
    lab.sluice(&["status", "--json"]).expect(0).json()["table"]["flags"].take()
}

/// New connections of all backends in the status.
fn connections(lab: &Lab) -> u64 {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let backends = status["services"][0]["backends"].as_array().unwrap().clone();
    backends.iter().map(|backend| backend["connections_total"].as_u64().unwrap()).sum()
}

fn nft(lab: &Lab, command: &str) -> Finished {
    lab.finish(std::process::Command::new("nft").arg(command))
}

#[test]
fn table_of_a_living_daemon_cannot_be_flushed_deleted_or_edited() {
    let lab = Lab::new();
    let daemon = lab.start(&web());
    assert_eq!(flags(&lab), ours());
    let before = lab.ruleset();
    nft(&lab, "flush ruleset").expect(0);
    for command in
        ["delete table inet sluice", "add chain inet sluice mine", "flush chain inet sluice prerouting"]
    {
        let refused = nft(&lab, command).expect(1);
        assert!(refused.stderr.contains("Operation not permitted"), "{command}: {refused:?}");
    }
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), "");
}

#[test]
fn table_of_a_crashed_daemon_is_adopted_with_its_counters() {
    let lab = Lab::new();
    let daemon = lab.start(&web());
    assert_eq!(lab.client.tcp_shares(8, VIP), lab.even(2));
    daemon.crash();
    lab.client.tcp_times(3, VIP);
    let daemon = Daemon::start(&lab);
    assert_eq!(flags(&lab), ours());
    assert_eq!(connections(&lab), 11);
    // A table without flags is used as it is.
    if ours() != json!([]) {
        assert_eq!(daemon.logged("adopted table inet sluice"), 1, "{}", daemon.log());
        nft(&lab, "delete table inet sluice").expect(1);
    }
}

#[test]
fn table_applied_without_a_daemon_is_adopted_by_one() {
    let lab = Lab::new();
    lab.configure(&web());
    lab.sluice(&["apply"]).expect(0);
    nft(&lab, "add chain inet sluice mine").expect(0);
    let daemon = Daemon::start(&lab);
    assert_eq!(flags(&lab), ours());
    assert!(!lab.ruleset().contains("mine"), "{}", lab.ruleset());
    assert!(daemon.stop().success());
}

#[test]
fn second_daemon_with_files_of_its_own_says_who_owns_the_table() {
    for switches in [&[][..], UNOWNED] {
        second_daemon_is_refused(switches);
    }
}

fn second_daemon_is_refused(switches: &[(&str, &str)]) {
    let lab = Lab::new();
    lab.configure(&web());
    let daemon = Daemon::start_with(&lab, switches);
    let yaml = format!("{}\ncontrol: {{socket: {}}}\n", web(), lab.path("second/sluice.sock").display());
    std::fs::write(lab.path("second.yaml"), yaml).unwrap();
    let second = lab.sluiced(&["-c", lab.path("second.yaml").to_str().unwrap()]);
    assert_ne!(second.code, Some(0));
    let owner =
        format!("table inet sluice is owned by another process (sluiced, pid {}, uid 0)", daemon.pid());
    assert!(second.stderr.contains(&owner), "{}", second.stderr);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));

    // The commands that work without a daemon cannot change it either.
    for command in [&["apply"][..], &["cleanup"]] {
        lab.sluice(
            &[&["--socket", "/nowhere", "-c", lab.path("second.yaml").to_str().unwrap()], command].concat(),
        )
        .expect(77);
    }
    lab.sluice(&["plan"]).expect(0);
}

#[test]
fn daemon_without_the_flags_makes_a_plain_table_that_a_later_one_takes_as_it_is() {
    let lab = Lab::new();
    lab.configure(&web());
    let daemon = Daemon::start_with(&lab, UNOWNED);
    assert_eq!(flags(&lab), json!([]));
    assert_eq!(lab.client.tcp_shares(8, VIP), lab.even(2));
    daemon.crash();
    let mut daemon = Daemon::start(&lab);
    assert_eq!((flags(&lab), connections(&lab)), (json!([]), 8));
    // After it was created again, the daemon owns it.
    nft(&lab, "delete table inet sluice").expect(0);
    daemon.reload(&format!("services: {{web: {{listen: '{VIP}', backends: {FOUR}, scheduler: random}}}}"));
    assert_eq!(flags(&lab), ours());
    assert!(connections(&lab) >= 8);
}

#[test]
fn foreign_changes_of_a_table_without_an_owner_are_repaired_logged_and_counted() {
    const EDITS: [&str; 7] = [
        "flush ruleset",
        "delete table inet sluice",
        "flush chain inet sluice prerouting",
        "flush map inet sluice services4",
        "add rule inet sluice postrouting drop",
        "delete element inet sluice slots4-0 { 2 }",
        "add chain inet sluice mine; add table inet other",
    ];
    let lab = Lab::new();
    lab.configure(&(web() + "\nrefresh: 0"));
    let daemon = Daemon::start_with(&lab, UNOWNED);
    let before = lab.ruleset();
    for (n, edit) in EDITS.iter().enumerate() {
        nft(&lab, edit).expect(0);
        eventually(&format!("{edit} is repaired"), || {
            let ruleset = lab.ruleset();
            (ruleset.replace("table inet other {\n}\n", "") == before).then_some(())
        });
        let counted = eventually("it is counted", || {
            let status = lab.sluice(&["status", "--json"]).expect(0).json();
            let changes = status["table"]["foreign_changes"].clone();
            (changes["total"].as_u64()? > n as u64).then_some(changes)
        });
        assert_eq!(counted["total"], n + 1, "{edit}");
        assert_eq!(counted["last"]["process"], "nft");
    }
    assert_eq!(daemon.logged("table inet sluice was changed by nft"), EDITS.len(), "{}", daemon.log());
    assert_eq!(lab.client.tcp_shares(8, VIP), lab.even(2));
    let text = lab.sluice(&["status"]).expect(0).stdout;
    assert!(text.contains("changed by others: 7, last"), "{text}");
    // Changes of other tables are ignored.
    nft(&lab, "add table inet other; add chain inet other sluice").expect(0);
    lab.sluice(&["plan"]).expect(0);
}
