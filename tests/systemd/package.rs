//! What installing, removing and purging the package do.

use sluice_testkit::eventually;

use crate::VIP;
use crate::container::CONFIG;
use crate::machine::{Machine, web};

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn package_installed_neither_starts_nor_enables_the_daemon() {
    let machine = Machine::installed();
    assert_eq!(machine.run("systemctl is-enabled sluiced").stdout, "disabled\n");
    assert_eq!(machine.run("systemctl is-active sluiced").stdout, "inactive\n");
    assert_eq!(machine.lab.ruleset(), "");
    // Its file is good, and says nothing that a daemon would have to do.
    machine.sh("sluice check && systemctl start sluiced");
    assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0");
    assert!(machine.lab.client.tcp(VIP).is_err());
    assert!(machine.property("StatusText").ends_with("in sync"), "{}", machine.property("StatusText"));
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn package_brings_its_manual_its_examples_and_completions() {
    let machine = Machine::installed();
    for file in [
        "/usr/share/man/man8/sluiced.8.gz",
        "/usr/share/man/man1/sluice.1.gz",
        "/usr/share/man/man5/sluice.yaml.5.gz",
        "/usr/share/doc/sluice/changelog.Debian.gz",
        "/usr/share/doc/sluice/copyright",
        "/usr/share/bash-completion/completions/sluice",
        "/usr/share/zsh/vendor-completions/_sluice",
        "/usr/share/fish/vendor_completions.d/sluice.fish",
        "/usr/share/sluice/sluice.schema.json",
    ] {
        machine.sh(&format!("test -s {file}"));
    }
    machine.sh("for file in /usr/share/doc/sluice/examples/*.yaml; do sluice check $file; done");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn daemon_enabled_is_started_with_the_machine() {
    let machine = Machine::installed();
    machine.configure(&web(&[1, 2]));
    machine.sh("systemctl enable sluiced");
    // What a boot wants.
    machine.sh("systemctl start multi-user.target");
    eventually("the daemon runs", || (machine.property("ActiveState") == "active").then_some(()));
    assert!(machine.lab.client.tcp(VIP).is_ok());
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn package_removed_leaves_its_file_and_nothing_in_the_kernel() {
    for on_stop in ["remove", "keep"] {
        let machine = Machine::installed();
        // An identifier of the boot that nspawn makes up, and that a unit with a /proc of its own does not see: here
        // `sluice cleanup` is to find what the daemon has written in the same boot.
        machine.sh("umount /proc/sys/kernel/random/boot_id");
        machine.configure(&format!("{}\non_stop: {on_stop}", web(&[1, 2])));
        machine.sh("systemctl start sluiced");
        assert!(machine.lab.client.tcp(VIP).is_ok());
        machine.apt("remove sluice");
        assert_eq!(machine.lab.ruleset(), "", "on_stop: {on_stop}");
        assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0", "on_stop: {on_stop}");
        machine.sh(&format!("test -e {CONFIG} && ! pgrep sluiced"));
    }
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn commands_of_root_before_the_first_start_and_over_a_new_installation_leave_the_daemon_to_start() {
    for before in ["sluice apply", "sluice cleanup", "sluice apply && sluice cleanup"] {
        let machine = Machine::installed();
        // As in `package_removed_leaves_its_file_and_nothing_in_the_kernel`.
        machine.sh("umount /proc/sys/kernel/random/boot_id");
        machine.configure(&web(&[1, 2]));
        for round in ["after the first installation", "after another one"] {
            machine.sh(before);
            machine.sh("systemctl start sluiced && sluice drain web/10.0.2.11:8080");
            assert!(machine.lab.client.tcp(VIP).is_ok(), "{before} {round}");
            let owners =
                machine.sh("stat --format=%U:%G:%a /run/sluice/*.json /run/sluice/sluiced.lock | sort -u");
            assert_eq!(owners, "sluice:sluice:600\n", "{before} {round}");
            // Removing calls `sluice cleanup` as root.
            machine.apt("remove sluice");
            assert_eq!(machine.lab.ruleset(), "", "{before} {round}");
            assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0", "{before} {round}");
            machine.apt("install /packages/sluice.deb");
        }
    }
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn package_removed_while_its_file_is_bad_leaves_nothing_in_the_kernel() {
    let machine = Machine::serving();
    machine.configure("services: [");
    machine.sh("systemctl kill --signal=KILL sluiced; systemctl stop sluiced");
    assert!(machine.lab.ruleset().contains("table inet sluice"), "a crash leaves it");
    machine.apt("remove sluice");
    assert_eq!(machine.lab.ruleset(), "");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn package_purged_leaves_its_user_only() {
    let machine = Machine::serving();
    machine.sh("systemctl enable sluiced");
    machine.apt("purge sluice");
    assert_eq!(machine.lab.ruleset(), "");
    let files = machine.sh("find / -xdev -iname '*sluice*' -not -path '/packages*' -not -path '/proc/*'; ls -d /run/sluice || true");
    assert_eq!(files, "");
    machine.sh("getent passwd sluice && getent group sluice");
    assert_eq!(machine.sh("systemctl --failed --plain --no-legend"), "");
    // It was enabled, and that is forgotten, too.
    machine.apt("install /packages/sluice.deb");
    machine.sh("sluice check");
    assert_eq!(machine.run("systemctl is-enabled sluiced").stdout, "disabled\n");
}
