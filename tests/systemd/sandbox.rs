//! What the daemon may do, and who may talk to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use sluice_testkit::eventually;

use crate::VIP;
use crate::machine::Machine;

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn unit_exposure_as_systemd_sees_it_is_at_most_2() {
    let machine = Machine::serving();
    let analysis = machine.run("systemd-analyze security --no-pager --threshold=20 sluiced");
    assert_eq!(analysis.code, Some(0), "{}{}", analysis.stdout, analysis.stderr);
    println!("{}", analysis.stdout.lines().last().unwrap_or_default());
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn control_socket_is_for_the_group_only() {
    let machine = Machine::serving();
    machine.sh("printf 'u alice -\\nm alice sluice\\nu bob -\\n' | systemd-sysusers -");
    let alice = machine.sh("runuser -u alice -- sluice status");
    assert!(alice.contains("web: up"), "{alice}");
    let bob = machine.run("runuser -u bob -- sluice status").expect(1);
    assert!(
        bob.stderr.contains("/run/sluice/sluice.sock") && bob.stderr.contains("ermission denied"),
        "{}",
        bob.stderr
    );
    machine.run("runuser -u bob -- sluice drain web/10.0.2.11:8080").expect(1);
    assert_eq!(machine.lab.client.tcp_shares(40, VIP), machine.lab.even(10));
    // Nor can they look at its state, or at the daemon.
    machine.run("runuser -u bob -- cat /run/sluice/state.json").expect(1);
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn probes_and_resets_in_the_sandbox_work() {
    let machine = Machine::installed();
    // It has to do without the daemon's capabilities and priority.
    machine.write(
        "/srv/check",
        "#!/bin/sh -e\ntest $1 = 8080\ntest $(nice) = 0\ngrep CapEff /proc/self/status\n! grep -qE '^Cap(Prm|Eff|Amb):.*[1-9a-f]' /proc/self/status",
    );
    machine.sh("chmod +x /srv/check");
    machine.configure(
        "services:
           web:
             listen: 203.0.113.10:80
             health: {icmp: {}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}
             on_down: reset
             backends: [10.0.2.11:8080]
           run:
             listen: 203.0.113.10:81
             health: {exec: {command: [/srv/check, '{port}']}, initial: down, interval: 200ms, rise: 2}
             backends: [10.0.2.12:8080]
           udp:
             listen: 203.0.113.10:53/udp
             health: {tcp: {}, interval: 200ms, rise: 2}
             source: auto
             backends: [10.0.2.13:8080]",
    );
    machine.sh("systemctl start sluiced");
    let priority = machine.sh("ps -o ni= -p $(systemctl show --property=MainPID --value sluiced)");
    assert_eq!(priority.trim(), "-10");
    // Nobody may send echo requests without a privilege: the kernel's default, and Debian 12's.
    let range = machine.lab.balancer.sysctl("net/ipv4/ping_group_range");
    assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["1", "0"]);
    for service in ["web", "run", "udp"] {
        wait_for(&machine, service, "healthy");
    }
    let mut open = machine.lab.client.open(VIP).unwrap();
    machine.lab.backends[0].set_sysctl("net/ipv4/icmp_echo_ignore_all", "1");
    wait_for(&machine, "web", "unhealthy");
    assert_eq!(open.listen().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let journal = machine.journal();
    assert!(!journal.contains("Operation not permitted"), "{journal}");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn status_page_and_bytes_work_in_the_sandbox() {
    let machine = Machine::installed();
    machine.configure(
        "http: {listen: '10.0.1.1:9180', accounting: true}\nservices: {web: {listen: 203.0.113.10:80, backends: [10.0.2.11:8080]}}",
    );
    machine.sh("systemctl start sluiced");
    assert_eq!(machine.lab.balancer.sysctl("net/netfilter/nf_conntrack_acct"), "1");
    machine.lab.client.tcp_times(3, VIP);
    let from_outside = |path: &str| {
        let address = "10.0.1.1:9180".parse().expect("an address");
        machine.lab.client.run(|| {
            let mut stream = TcpStream::connect::<SocketAddr>(address).expect("connect to the status page");
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("ask");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        })
    };
    assert!(from_outside("/").contains("<title>"));
    eventually("bytes to clients are counted", || {
        let metrics = from_outside("/metrics");
        let name =
            "sluice_backend_bytes_total{service=\"web\",backend=\"10.0.2.11:8080\",direction=\"out\"} ";
        let bytes: u64 = metrics.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()?;
        (bytes > 0).then_some(())
    });
    machine.sh("systemctl stop sluiced");
    assert_eq!(machine.lab.balancer.sysctl("net/netfilter/nf_conntrack_acct"), "0");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn daemon_in_the_sandbox_has_two_capabilities_and_all_files_it_may_open() {
    let machine = Machine::serving();
    let status = machine.sh("cat /proc/$(systemctl show --property=MainPID --value sluiced)/status");
    let field = |name: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} in:\n{status}"));
        value.trim().to_owned()
    };
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW is bit 13 (capability.h).
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "0000000000003000", "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    let limits = machine.sh("cat /proc/$(systemctl show --property=MainPID --value sluiced)/limits");
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit of open files");
    let files: Vec<_> = files.split_whitespace().collect();
    assert_eq!(files[0], files[1], "each probe under way takes one");
}

#[test]
#[ignore = "takes a booted Debian: make systemd"]
fn drop_ins_of_the_manual_move_file_socket_and_state_and_take_a_capability() {
    let machine = Machine::installed();
    machine.write("/srv/balancer.yaml", "control: {socket: /run/other/sluice.sock}\nstate: /var/lib/sluice");
    machine.drop_in(
        "Environment=SLUICE_CONFIG=/srv/balancer.yaml
         Environment=SLUICE_SOCKET=/run/other/sluice.sock
         RuntimeDirectory=sluice other
         StateDirectory=sluice
         CapabilityBoundingSet=~CAP_NET_RAW
         AmbientCapabilities=~CAP_NET_RAW",
    );
    machine.sh("systemctl start sluiced && systemctl reload sluiced");
    machine.sh("test -S /run/other/sluice.sock && test -e /var/lib/sluice/sluiced.lock");
    let status = machine.sh("cat /proc/$(systemctl show --property=MainPID --value sluiced)/status");
    assert!(status.contains("CapEff:\t0000000000001000\n"), "{status}");
}

/// Waits until the first backend of a service has this health.
fn wait_for(machine: &Machine, service: &str, health: &str) {
    eventually(&format!("the backend of {service} is {health}"), || {
        let status: Value = serde_json::from_str(&machine.sh("sluice status --json")).expect("JSON");
        let found = status["services"].as_array()?.iter().find(|shown| shown["name"] == service)?;
        (found["backends"][0]["health"] == health).then_some(())
    });
}
