//! What docs/operations.md tells people to type, typed: installation, changes from and to other programs, emergencies.

use std::thread;

use sluice_testkit::{eventually, manual};

use crate::VIP;
use crate::container::CONFIG;
use crate::machine::{Machine, web};
use crate::traffic::{started_again, undisturbed};

/// The service's address on an interface, as the manual says.
fn has_address(machine: &Machine) {
    machine.types(&manual("add-address", &[]));
}

/// Nothing of sluice is left in the kernel.
fn is_gone(machine: &Machine) {
    assert_eq!(machine.lab.ruleset(), "");
    assert_eq!(machine.lab.balancer.sysctl("net/ipv4/ip_forward"), "0");
}

/// Lets commands of root find what the daemon has saved, as in `package_removed_leaves_its_file_and_nothing_in_the_kernel`.
fn one_boot(machine: &Machine) {
    machine.sh("umount /proc/sys/kernel/random/boot_id");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn manual_from_the_installation_to_the_purge_works_as_typed() {
    let machine = Machine::boot();
    one_boot(&machine);
    machine.sh("useradd alice");
    let (package, name) = (("./sluice_VERSION_amd64.deb", "/packages/previous.deb"), ("NAME", "alice"));
    machine.types(&manual("install", &[package, name]));
    machine.configure(&web(&[1, 2, 3, 4]));
    has_address(&machine);
    machine.types(&manual("first-service", &[]));
    assert_eq!(machine.lab.client.tcp_shares(40, VIP), machine.lab.even(10));
    machine.sh("setpriv --reuid=alice --regid=alice --init-groups sluice drain web/10.0.2.11:8080");
    let shown = machine.sh("sluice status; sluice overrides");
    assert_eq!(shown.matches("(alice)").count(), 2, "{shown}");
    machine.sh("sluice reset web/10.0.2.11:8080");

    undisturbed(&machine, || machine.types(&manual("reload", &[])));
    let new = ("./sluice_NEW_amd64.deb", "/packages/sluice.deb");
    undisturbed(&machine, || machine.types(&manual("upgrade", &[new])));
    undisturbed(&machine, || machine.types(&manual("restart", &[])));
    let old = ("./sluice_OLD_amd64.deb", "/packages/previous.deb");
    undisturbed(&machine, || machine.types(&manual("downgrade", &[old])));
    machine.types(&manual("disable", &[]));
    is_gone(&machine);
    machine.sh("systemctl enable --now sluiced");
    machine.types(&manual("remove", &[]));
    is_gone(&machine);
    machine.sh(&format!("test -e {CONFIG}"));
    machine.types(&manual("purge", &[]));
    machine.sh(&format!("test ! -e {CONFIG} && test ! -e /run/sluice"));
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn manual_from_the_iptables_recipe_and_back_works_as_typed() {
    let machine = Machine::installed();
    has_address(&machine);
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh(&manual("iptables-recipe", &[]));
    let client = &machine.lab.client;
    let serves = |count: usize| (0..count).filter(|_| client.tcp(VIP).is_ok()).count();
    // According to the manual, (3/4)^4 of the connections match no rule of the recipe.
    assert_eq!(serves(256), 175);
    let mut before = (0..40).find_map(|_| client.open(VIP).ok()).expect("a connection through the recipe");
    let says = machine.run("sluice doctor").stdout;
    machine.types(&manual("from-iptables", &[]));
    assert!(says.contains("table nat, chain PREROUTING also translates 203.0.113.10:80/tcp (web)"), "{says}");
    assert_eq!(client.tcp_shares(40, VIP), machine.lab.even(10));
    assert_eq!(before.echo("still there?").unwrap(), "still there?");

    let mut of_sluice = client.open(VIP).unwrap();
    let rules = manual("back-to-iptables", &[]).replace("systemctl stop sluiced\n", "");
    machine.sh(&rules);
    assert_eq!(serves(40), 40, "sluice still wins");
    machine.sh("iptables -t nat -F PREROUTING");
    machine.types(&manual("back-to-iptables", &[]));
    assert!(serves(40) >= 20);
    for (which, open) in [("the recipe", &mut before), ("sluice", &mut of_sluice)] {
        assert_eq!(open.echo("still there?").unwrap(), "still there?", "a connection through {which}");
    }
    assert_eq!(machine.run("nft list table inet sluice").code, Some(1));
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn manual_from_haproxy_and_back_works_as_typed() {
    let machine = Machine::installed();
    has_address(&machine);
    machine.configure(&web(&[1, 2, 3, 4]));
    let servers: String =
        (1..=4).map(|n| format!("  server b{n} 10.0.2.1{n}:8080 check inter 500ms\n")).collect();
    machine.write(
        "/etc/haproxy/haproxy.cfg",
        &format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen web\n  bind {VIP}\n{servers}"
        ),
    );
    machine.sh("systemctl enable --now haproxy");
    let client = &machine.lab.client;
    let mut of_haproxy = client.open(VIP).unwrap();
    undisturbed(&machine, || machine.types(&manual("from-haproxy", &[])));
    assert_eq!(client.tcp_shares(40, VIP), machine.lab.even(10));
    assert_eq!(of_haproxy.echo("still there?").unwrap(), "still there?");
    drop(of_haproxy);
    undisturbed(&machine, || machine.types(&manual("stop-haproxy", &[])));

    let block = manual("back-to-haproxy", &[]);
    let mut outcomes = vec![];
    for line in block.lines() {
        machine.types(line);
        outcomes.extend((0..40).map(|_| client.tcp(VIP)));
    }
    let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failures.is_empty(), "{failures:?}");
    is_gone(&machine);
}

/// Without IPVS, which the kernels that tests run on may lack: keepalived has only the address.
#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn manual_from_keepalived_and_back_works_as_typed_and_leaves_its_address() {
    let machine = Machine::installed();
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.write(
        "/etc/keepalived/keepalived.conf",
        "vrrp_instance web {\n state MASTER\n interface eth0\n virtual_router_id 7\n priority 200\n \
         virtual_ipaddress {\n  203.0.113.10/32 dev eth0\n }\n}",
    );
    machine.sh("systemctl enable --now keepalived");
    let has_address = || machine.sh("ip address show dev eth0").contains("inet 203.0.113.10/32");
    eventually("keepalived has the address", || has_address().then_some(()));
    machine.types(&manual("from-keepalived", &[]));
    assert_eq!(machine.lab.client.tcp_shares(40, VIP), machine.lab.even(10));
    undisturbed(&machine, || machine.types(&manual("stop-ipvs", &[])));
    assert!(has_address());
    machine.types(&manual("back-to-keepalived", &[]));
    assert!(has_address());
    is_gone(&machine);
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn manual_of_emergencies_works_as_typed() {
    let machine = Machine::installed();
    one_boot(&machine);
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced");
    let serves = || assert_eq!(machine.lab.client.tcp_shares(8, VIP), machine.lab.even(2));

    // A daemon that hangs is replaced.
    machine.sh("systemctl kill --signal=STOP sluiced");
    machine.types(&manual("replace-a-daemon-that-hangs", &[]));
    started_again(&machine);
    serves();

    // A bad file, and a restart that fails: the table is left, and the next daemon takes it over, or it goes.
    machine.configure("services: [");
    assert_ne!(machine.run("systemctl restart sluiced").code, Some(0));
    serves();
    machine.configure(&web(&[1, 2, 3, 4]));
    undisturbed(&machine, || machine.types(&manual("start-after-a-bad-file", &[])));
    machine.configure("services: [");
    assert_ne!(machine.run("systemctl restart sluiced").code, Some(0));
    machine.types(&manual("remove-from-the-kernel", &[]));
    is_gone(&machine);

    // A daemon that hangs goes with its table.
    machine.configure(&web(&[1, 2, 3, 4]));
    machine.sh("systemctl start sluiced && systemctl kill --signal=STOP sluiced");
    let refused = machine.run("sluice cleanup");
    assert!(
        refused.stderr.contains("systemctl kill --signal=KILL sluiced && systemctl stop sluiced"),
        "{refused:?}"
    );
    machine.types(&manual("remove-with-a-daemon-that-hangs", &[]));
    is_gone(&machine);

    // Without any program of sluice, after a crash.
    machine.drop_in("Restart=no");
    machine.sh("systemctl start sluiced; systemctl kill --signal=KILL sluiced");
    eventually("it has crashed", || (machine.property("ActiveState") == "failed").then_some(()));
    serves();
    machine.types(&manual("remove-without-sluice", &[]));
    is_gone(&machine);

    // No daemon, and a unit that cannot start.
    machine.drop_in("ExecStart=\nExecStart=/nowhere");
    assert_ne!(machine.run("systemctl start sluiced").code, Some(0));
    machine.types(&manual("apply-without-a-daemon", &[]));
    serves();
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn connection_ends_before_the_stop_of_the_manual_that_drains() {
    let machine = Machine::serving();
    let mut open = machine.lab.client.open(VIP).unwrap();
    let block = manual("drain-before-a-stop", &[("SERVICE", "web")]);
    thread::scope(|scope| {
        let typed = scope.spawn(|| machine.types(&block));
        eventually("all are drained", || {
            let overrides = machine.sh("sluice overrides");
            (overrides.matches("drain").count() >= 4).then_some(())
        });
        assert_eq!(open.echo("still there?").unwrap(), "still there?");
        assert!(!typed.is_finished());
        drop(open);
        typed.join().expect("it ends with the connection");
    });
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.lab.ruleset(), "");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn doctor_finds_companions_that_are_enabled_and_do_not_run() {
    let machine = Machine::serving();
    let units = || {
        let found = machine.run("sluice doctor").stdout;
        found.lines().filter(|line| line.contains(".service is enabled and does not run")).count()
    };
    assert_eq!(units(), 0);
    for unit in ["keepalived", "conntrackd"] {
        machine.write(
            &format!("/etc/systemd/system/{unit}.service"),
            "[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target",
        );
    }
    machine.sh("systemctl daemon-reload");
    assert_eq!(units(), 0, "they are not enabled");
    machine.sh("systemctl enable keepalived conntrackd");
    assert_eq!(units(), 2);
    machine.run("systemctl start keepalived conntrackd");
    eventually("keepalived has failed", || (units() == 2).then_some(()));

    // The address moves with keepalived: it is not to be added here.
    let elsewhere = "203.0.113.10 is on no interface";
    assert!(machine.run("sluice doctor").stdout.contains(elsewhere));
    machine.write(
        "/etc/keepalived/keepalived.conf",
        "vrrp_instance x {\n virtual_ipaddress {\n  203.0.113.10/32 dev eth0\n }\n}",
    );
    assert!(!machine.run("sluice doctor").stdout.contains(elsewhere));
}
