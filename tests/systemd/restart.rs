//! The daemon ends and begins, by intention and without, while clients are connected and connect.

use sluice_testkit::eventually;

use crate::VIP;
use crate::machine::{Machine, web};
use crate::traffic::{started_again, undisturbed};

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn restart_under_traffic_loses_no_connection() {
    let machine = Machine::serving();
    let pid = machine.property("MainPID");
    // More often than systemd lets a unit start in ten seconds if it is not told otherwise.
    undisturbed(&machine, || (0..8).for_each(|_| drop(machine.sh("systemctl restart sluiced"))));
    assert_ne!(machine.property("MainPID"), pid);
    let journal = machine.journal();
    assert_eq!(journal.matches("received SIGUSR2").count(), 8, "{journal}");
    machine.sh("systemctl stop sluiced");
    assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0", "as before the first start");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn restart_where_nobody_owns_tables_loses_no_connection() {
    let machine = Machine::installed();
    machine.drop_in("Environment=SLUICE_UNOWNED=1");
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced");
    assert!(!machine.lab.balancer.sh("nft list table inet sluice").contains("flags owner"));
    undisturbed(&machine, || (0..8).for_each(|_| drop(machine.sh("systemctl restart sluiced"))));
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn restart_with_a_bad_file_fails_and_traffic_goes_on() {
    let machine = Machine::serving();
    machine.configure("services: [");
    undisturbed(&machine, || {
        assert_ne!(machine.run("systemctl restart sluiced").code, Some(0));
        assert_eq!(machine.property("SubState"), "failed");
        machine.lab.client.tcp_times(100, VIP);
    });
    machine.configure(&web(&[1]));
    machine.sh("systemctl start sluiced");
    assert_eq!(machine.lab.client.tcp(VIP).unwrap().backend, "b1");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn daemon_that_was_killed_is_started_again_under_traffic() {
    let machine = Machine::serving();
    undisturbed(&machine, || {
        machine.sh("systemctl kill --signal=KILL sluiced");
        started_again(&machine);
    });
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn daemon_that_hangs_is_killed_and_started_again_under_traffic() {
    let machine = Machine::installed();
    machine.drop_in("WatchdogSec=2s\nTimeoutAbortSec=1s");
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced");
    undisturbed(&machine, || {
        machine.sh("systemctl kill --signal=STOP sluiced");
        started_again(&machine);
    });
    let journal = machine.journal();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn daemon_that_failed_at_run_time_is_tried_again() {
    let machine = Machine::installed();
    machine.configure(&format!("{}\nforwarding: require", web(&[1])));
    assert_ne!(machine.run("systemctl start sluiced").code, Some(0));
    assert_eq!(machine.property("ExecMainStatus"), "1");
    machine.lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    eventually("the daemon runs", || (machine.property("ActiveState") == "active").then_some(()));
    assert_eq!(machine.lab.client.tcp(VIP).unwrap().backend, "b1");
}
