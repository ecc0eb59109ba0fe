//! Another version of the package, under traffic.

use crate::VIP;
use crate::container::CONFIG;
use crate::machine::{Machine, web};
use crate::traffic::undisturbed;

/// The version before, installed and serving.
fn before() -> Machine {
    let machine = Machine::boot();
    machine.apt("install /packages/previous.deb");
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced");
    machine
}

fn version(machine: &Machine) -> String {
    machine.sh("dpkg-query --show --showformat='${Version}' sluice")
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn upgrade_and_way_back_under_traffic_lose_no_connection() {
    let machine = before();
    let (old, file) = (version(&machine), machine.sh(&format!("cat {CONFIG}")));
    let mut pid = machine.property("MainPID");
    for install in ["install /packages/sluice.deb", "install --allow-downgrades /packages/previous.deb"] {
        undisturbed(&machine, || machine.apt(install));
        let new = machine.property("MainPID");
        assert_ne!(new, pid, "{install}: the daemon of the other version runs");
        pid = new;
        assert_eq!(machine.property("StatusText"), "1 service with 4 backends, in sync");
        assert_eq!(machine.sh(&format!("cat {CONFIG}")), file);
    }
    assert_eq!(version(&machine), old);
    // It has been handed on what forwarding was.
    machine.sh("systemctl stop sluiced");
    assert_eq!(
        (machine.lab.ruleset(), machine.lab.balancer.sysctl("net/ipv4/ip_forward")),
        (String::new(), "0".into())
    );
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn upgrade_with_a_file_that_the_new_version_refuses_keeps_the_old_daemon() {
    let machine = before();
    let pid = machine.property("MainPID");
    machine.configure("services: {web: {lisen: 203.0.113.10:80}}");
    let said = undisturbed(&machine, || machine.apt("install /packages/sluice.deb"));
    assert!(said.contains("/etc/sluice/sluice.yaml:1:18: error: unknown key"), "{said}");
    assert!(said.contains("the old daemon goes on"), "{said}");
    assert_eq!((machine.property("MainPID"), machine.property("ActiveState")), (pid, "active".into()));
    machine.configure(&web(&[2]));
    machine.sh("systemctl restart sluiced");
    assert_eq!(machine.lab.client.tcp(VIP).unwrap().backend, "b2");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn upgrade_of_a_daemon_that_is_stopped_does_not_start_it() {
    let machine = before();
    machine.sh("systemctl enable sluiced; systemctl stop sluiced");
    machine.apt("install /packages/sluice.deb");
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.run("systemctl is-enabled sluiced").stdout, "enabled\n");
    assert_eq!(machine.lab.ruleset(), "");
}
