//! Programs of `exec` probes, and what probes need from the balancer itself.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use sluice_testkit::{Daemon, Lab, eventually, program};

/// A script in the lab's directory.
fn script(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write a script");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("make it executable");
    path
}

/// The first backend of a service, by number.
fn backend(lab: &Lab, service: usize) -> Value {
    lab.sluice(&["status", "--json"]).expect(0).json()["services"][service]["backends"][0].clone()
}

fn wait_for(lab: &Lab, service: usize, health: &str) {
    eventually(&format!("the backend of service {service} is {health}"), || {
        (backend(lab, service)["health"] == health).then_some(())
    });
}

#[test]
fn program_of_a_daemon_of_root_gets_neither_its_capabilities_nor_its_environment_nor_its_limits() {
    let lab = Lab::new();
    let told = lab.path("told");
    let check = script(
        &lab,
        "check",
        &format!(
            "exec >{0}.new; env; grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs):' /proc/self/status; ulimit -Sn; echo nice $(nice); \
             nft list ruleset && echo allowed; mv {0}.new {0}",
            told.display()
        ),
    );
    let service = |command: &str| {
        format!(
            "services: {{web: {{listen: 203.0.113.10:80, backends: 10.0.2.11:8080, \
             health: {{exec: {{command: {command}}}, interval: 200ms, timeout: 5s, rise: 1}}}}}}"
        )
    };
    lab.configure(&service(&check.display().to_string()));
    // The service manager gives it a small limit of open files, which it raises, and a priority.
    let start = format!("ulimit -Sn 777\nexec nice -n -10 {} \"$@\"", program("sluiced").display());
    let limited = script(&lab, "limited", &start);
    let _daemon = Daemon::start_program(&lab, &limited, &[("SECRET", "of the daemon")]);
    let told = eventually("the program ran", || fs::read_to_string(&told).ok());
    for absent in ["SECRET", "NOTIFY_SOCKET", "SLUICE", "allowed"] {
        assert!(!told.contains(absent), "{absent} in {told}");
    }
    assert!(told.contains("LANG=C\n") && told.contains("PATH="), "{told}");
    let none = "0".repeat(16);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(told.contains(&format!("{set}:\t{none}\n")), "{set} in {told}");
    }
    assert!(told.contains("NoNewPrivs:\t1\n"), "{told}");
    for inherited in ["777", "nice 0"] {
        assert!(told.lines().any(|line| line == inherited), "{told}");
    }
}

#[test]
fn programs_of_one_service_that_hang_keep_no_other_service_from_noticing_a_failure() {
    let lab = Lab::new();
    // Another test may have programs that sleep.
    let seconds = 1_000_000 + std::process::id();
    let check =
        script(&lab, "check", &format!("case $1 in hangs) exec sleep {seconds};; *) test ! -e $2;; esac"));
    let (check, down) = (check.display(), lab.path("down"));
    let hanging: Vec<_> = (1..=60).map(|n| format!("10.0.3.{n}:80")).collect();
    let yaml = format!(
        "services:
  hangs:
    listen: 203.0.113.10:81
    health: {{exec: {{command: [{check}, hangs, '{{address}}']}}, interval: 200ms, timeout: 60s}}
    backends: [{}]
  web:
    listen: 203.0.113.10:80
    health: {{exec: {{command: [{check}, works, {}]}}, interval: 200ms, timeout: 5s, rise: 1, fall: 1}}
    backends: [10.0.2.11:8080]
",
        hanging.join(", "),
        down.display()
    );
    let _daemon = lab.start(&yaml);
    eventually("programs of the first service have all its slots", || {
        let running = lab.balancer.sh(&format!("pgrep -cxf 'sleep {seconds}' || true"));
        (running.trim() == "32").then_some(())
    });
    wait_for(&lab, 1, "healthy");
    fs::write(&down, "").expect("take the backend down");
    wait_for(&lab, 1, "unhealthy");
    fs::remove_file(&down).expect("bring it back");
    wait_for(&lab, 1, "healthy");
}

#[test]
fn trusted_certificates_that_are_slow_to_read_delay_no_other_probe_and_are_read_once() {
    let lab = Lab::new();
    let certificates = lab.path("certificates");
    mkfifo(&certificates, Mode::S_IRWXU).expect("make a fifo");
    lab.configure(
        "services:
  tls:
    listen: 203.0.113.10:443
    health: {http: {tls: true, host: example.org, verify: true}, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}
    backends: [10.0.2.11:8080]
  web:
    listen: 203.0.113.10:80
    health: {tcp: {}, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}
    backends: [10.0.2.12:8080]
",
    );
    let file = certificates.display().to_string();
    let _daemon = Daemon::start_with(&lab, &[("SSL_CERT_FILE", &file)]);
    let detail = |text: &str| {
        eventually(text, || {
            let backend = backend(&lab, 0);
            backend["last_probe"]["detail"].as_str()?.contains(text).then_some(backend)
        })
    };
    let waiting = detail("the trusted certificates of this host are not read yet");
    assert_eq!(waiting["health"], "unknown");
    wait_for(&lab, 1, "healthy");
    lab.backends[1].silence();
    wait_for(&lab, 1, "unhealthy");
    let mut fifo = OpenOptions::new().write(true).open(&certificates).expect("open the fifo");
    writeln!(fifo, "no certificate").expect("write to the fifo");
    drop(fifo);
    // The backend speaks no TLS, and a probe that read the fifo again would wait.
    detail("10.0.2.11:8080/: ");
    wait_for(&lab, 0, "unhealthy");
}
