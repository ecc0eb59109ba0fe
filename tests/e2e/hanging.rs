//! Commands beside a daemon that hangs.

use std::os::fd::AsFd;
use std::thread;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use sluice_testkit::{Finished, Lab};

use crate::web;

const KILL: &str = "systemctl kill --signal=KILL sluiced";

#[test]
fn daemon_that_hangs_keeps_no_command_waiting_and_each_says_what_to_do() {
    let lab = Lab::new();
    // Few connections fill the queue of the control socket.
    lab.balancer.set_sysctl("net/core/somaxconn", "8");
    let daemon = lab.start(&web());
    lab.balancer.sh(&format!("kill -STOP {}", daemon.pid()));
    let commands = [
        &["status"][..],
        &["status", "--check"],
        &["doctor"],
        &["explain", "198.51.100.7", "203.0.113.10:80"],
        &["plan"],
    ];
    let ended: Vec<Finished> = thread::scope(|scope| {
        let lab = &lab;
        let threads = commands.map(|arguments| scope.spawn(move || lab.sluice(arguments)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let [status, check, doctor, explain, plan] = &ended[..] else { panic!("{ended:?}") };
    for it in [status, check, plan] {
        assert_eq!((it.code, it.stderr.lines().count()), (Some(1), 1), "{it:?}");
        assert!(it.stderr.starts_with("sluice: sluiced does not respond: no response to "), "{it:?}");
        assert!(it.stderr.contains(KILL), "{it:?}");
    }
    assert!(doctor.stdout.contains("some checks could not run: sluiced does not respond"), "{doctor:?}");
    assert!(
        explain.stdout.contains("health and overrides are unknown: sluiced does not respond"),
        "{explain:?}"
    );
    for command in ["cleanup", "apply"] {
        let refused = lab.sluice(&[command]).expect(1).stderr;
        assert!(refused.contains(&format!("sluiced is running (pid {})", daemon.pid())), "{refused}");
        assert!(refused.contains(&format!("{KILL} && systemctl stop sluiced")), "{refused}");
    }

    let address = UnixAddr::new(&lab.path("sluice.sock")).unwrap();
    let mut waiting = vec![];
    while waiting.len() < 1000 {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let next = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        if connect(std::os::fd::AsRawFd::as_raw_fd(&next.as_fd()), &address).is_err() {
            break;
        }
        waiting.push(next);
    }
    assert!(waiting.len() < 1000, "the queue is never full");
    for arguments in [&["status"][..], &["cleanup"], &["reload"], &["drain", "web/10.0.2.11:8080"]] {
        let refused = lab.sluice(arguments).expect(1).stderr;
        assert!(refused.lines().count() == 1 && refused.contains(KILL), "{arguments:?}: {refused}");
    }
    assert_eq!(lab.client.tcp_shares(8, "203.0.113.10:80"), lab.even(2));
    daemon.crash();
    lab.sluice(&["cleanup"]).expect(0);
    assert_eq!(lab.ruleset(), "");
}
