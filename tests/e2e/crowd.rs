//! What tests of crowds have in common: descriptors for many connections, and a daemon that must go on working.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_testkit::{Daemon, Lab, Shares, eventually};

/// The right to gather a crowd: two of them exceed the file descriptors of the process.
pub(crate) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, ()>);

impl Turn {
    /// Waits for it, and raises the limit of open files.
    pub(crate) fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, limits) = (std::process::id().to_string(), fs::read_to_string("/proc/self/limits"));
        let limits = limits.expect("read the limits");
        let most = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
        let most = most.split_whitespace().nth(4).expect("a hard limit");
        let raise =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={most}:{most}")]).status();
        assert!(raise.expect("start prlimit").success(), "prlimit raises the number of open files");
        Turn(turn)
    }
}

/// Number of open files of the daemon.
pub(crate) fn files(daemon: &Daemon<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("list its files").count()
}

/// Resident memory of the daemon in bytes.
pub(crate) fn memory(daemon: &Daemon<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("read the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The second of three backends goes down, and new connections go to the others.
pub(crate) fn assert_it_works(lab: &Lab) {
    lab.backends[1].silence();
    eventually("the second backend is down", || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        (status["services"][0]["backends"][1]["health"] == "unhealthy").then_some(())
    });
    let shares = lab.client.tcp_shares(10, "203.0.113.10:80");
    assert_eq!(shares, Shares::from([("b1", 5), ("b3", 5)]));
}
