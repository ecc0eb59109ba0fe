//! A log and a service manager that read nothing.

use std::fs::OpenOptions;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sluice_testkit::{Daemon, Lab, Shares, eventually, program};

const CONFIG: &str = "http: {listen: '127.0.0.1:9180'}
services:
  web:
    listen: 203.0.113.10:80
    health: {tcp: {}, interval: 100ms, timeout: 100ms, rise: 1, fall: 1}
    backends: [10.0.2.11:8080, 10.0.2.12:8080]
";

/// Takes the second backend down and up again.
fn flip(lab: &Lab) {
    let becomes = |health: &str| {
        eventually(&format!("the second backend is {health}"), || {
            let status = lab.sluice(&["status", "--json"]).expect(0).json();
            (status["services"][0]["backends"][1]["health"] == health).then_some(())
        });
    };
    lab.backends[1].silence();
    becomes("unhealthy");
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), Shares::from([("b1", 4)]));
    lab.backends[1].serve(8080);
    becomes("healthy");
}

fn lost_lines(lab: &Lab) -> u64 {
    let text = lab.balancer.sh("curl --silent --fail --max-time 20 http://127.0.0.1:9180/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix("sluice_log_lines_lost_total "));
    line.expect("the metric").parse().expect("a number")
}

#[test]
fn log_that_nobody_reads_stops_neither_health_nor_reloads_and_lost_lines_are_counted() {
    let lab = Lab::new();
    let pipe = lab.path("log.pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("make a pipe");
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("open the pipe");
    let sluiced = format!("{} --log-level trace 2> {}", program("sluiced").display(), pipe.display());
    let script = lab.sluiced_after("", &sluiced);
    lab.configure(CONFIG);
    let mut daemon = Daemon::start_program(&lab, &script, &[]);
    eventually("the pipe is full", || {
        daemon.hang_up();
        (lost_lines(&lab) > 0).then_some(())
    });
    flip(&lab);
    daemon.reload(&CONFIG.replace("10.0.2.12", "10.0.2.13"));
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), Shares::from([("b1", 2), ("b3", 2)]));
    assert!(daemon.stop().success());
}

#[test]
fn service_manager_that_reads_nothing_stops_neither_health_nor_the_daemon() {
    let lab = Lab::new();
    let daemon = lab.start(CONFIG);
    // Each reload sends two messages, of which nobody reads any; the socket takes about ten.
    for n in 0..10 {
        daemon.begin_reload();
        eventually("a reload has ended", || (daemon.logged("reloaded: ") > n).then_some(()));
    }
    flip(&lab);
    assert!(daemon.stop().success());
}
