//! Failed starts, and unusual environments.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use sluice_testkit::{Daemon, Finished, Lab, program};

use crate::web;

/// Runs the daemon with the lab's configuration file until it exits.
fn run(lab: &Lab) -> Finished {
    lab.sluiced(&["-c", lab.config().to_str().unwrap()])
}

#[test]
fn start_with_a_bad_file_tells_every_problem_and_touches_nothing() {
    let lab = Lab::with_backends(0);
    lab.configure(
        "services:\n  web:\n    listen: 203.0.113.10:0\n    backends: [10.0.2.11:8080]\n    wieght: 3",
    );
    let config = lab.config();
    for refused in [
        run(&lab),
        lab.sluiced(&["--check", "-c", config.to_str().unwrap()]),
        lab.sluice(&["check", config.to_str().unwrap()]),
    ] {
        let told = refused.expect(78);
        let told = told.stderr + &told.stdout;
        for line in [3, 5] {
            let place = format!("{}:{line}:", config.display());
            assert!(told.contains(&place), "{place} in\n{told}");
        }
    }
    assert_eq!(lab.ruleset(), "");
    assert!(!lab.path("sluice.sock").exists());
}

#[test]
fn start_without_a_readable_file_says_which_and_why() {
    let lab = Lab::with_backends(0);
    let missing = run(&lab).expect(78).stderr;
    assert!(missing.contains("sluice.yaml") && missing.contains("No such file"), "{missing}");

    fs::create_dir(lab.config()).unwrap();
    let directory = run(&lab).expect(78).stderr;
    assert!(directory.contains("sluice.yaml") && directory.contains("directory"), "{directory}");
    fs::remove_dir(lab.config()).unwrap();

    lab.configure(&web());
    lab.balancer.sh(&format!("chmod 000 {}", lab.config().display()));
    // The capabilities that let root read every file.
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]).arg(program("sluiced"));
    let unreadable = lab.finish(without.arg("-c").arg(lab.config())).expect(78).stderr;
    assert!(unreadable.contains("sluice.yaml") && unreadable.contains("Permission denied"), "{unreadable}");

    // Nobody writes to it, and it has no end.
    lab.balancer.sh(&format!("mkfifo {}", lab.path("fifo").display()));
    for (path, what) in [(lab.path("fifo"), "a FIFO or a pipe"), ("/dev/zero".into(), "a device")] {
        let path = path.to_str().unwrap();
        let refused =
            [lab.sluiced(&["-c", path]), lab.sluiced(&["--check", "-c", path]), lab.sluice(&["check", path])];
        for refused in refused {
            let told = refused.expect(78);
            let told = told.stderr + &told.stdout;
            assert!(told.contains(&format!("{path}: error: cannot read the file: it is {what}")), "{told}");
        }
    }

    fs::write(lab.path("binary.yaml"), [0, 159, 146, 150, 255]).unwrap();
    let binary = lab.sluiced(&["-c", lab.path("binary.yaml").to_str().unwrap()]).expect(78).stderr;
    assert!(binary.contains("binary.yaml"), "{binary}");
}

#[test]
fn start_without_the_capability_exits_77() {
    let lab = Lab::with_backends(0);
    lab.configure(&web());
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set", "-net_admin", "--"]).arg(program("sluiced"));
    let refused = lab.finish(without.arg("-c").arg(lab.config())).expect(77).stderr;
    assert!(refused.contains("CAP_NET_ADMIN"), "{refused}");
    assert!(!lab.path("sluice.sock").exists());
}

#[test]
fn file_of_ten_megabytes_of_comments_starts() {
    let lab = Lab::new();
    let comments = "# The quick brown fox jumps over the lazy dog and on, and on, and on.\n".repeat(150_000);
    let _daemon = lab.start(&(comments + &web()));
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), lab.even(1));
}

#[test]
fn file_named_by_the_environment_is_used() {
    let lab = Lab::with_backends(0);
    let checked = lab
        .finish(Command::new(program("sluiced")).arg("--check").env("SLUICE_CONFIG", lab.path("none.yaml")));
    assert!(checked.expect(78).stderr.contains("none.yaml"));
}

#[test]
fn stale_socket_is_replaced() {
    let lab = Lab::new();
    drop(UnixListener::bind(lab.path("sluice.sock")).unwrap());
    let _daemon = lab.start(&web());
    lab.sluice(&["status"]).expect(0);
}

#[test]
fn socket_path_that_is_a_file_is_refused_and_the_file_kept() {
    let lab = Lab::with_backends(0);
    lab.configure(&web());
    fs::write(lab.path("sluice.sock"), "somebody's").unwrap();
    let refused = run(&lab).expect(1).stderr;
    assert!(refused.contains("sluice.sock") && refused.contains("socket"), "{refused}");
    assert_eq!(fs::read_to_string(lab.path("sluice.sock")).unwrap(), "somebody's");
    assert_eq!(lab.ruleset(), "");
}

#[test]
fn second_daemon_on_a_live_socket_is_refused_and_the_first_goes_on() {
    let lab = Lab::new();
    let daemon = lab.start(&web());
    let before = lab.ruleset();
    let refused = run(&lab).expect(1).stderr;
    assert!(refused.contains("sluice.sock"), "{refused}");
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(4, "203.0.113.10:80"), lab.even(1));
    lab.sluice(&["status"]).expect(0);
    assert!(daemon.stop().success());
    assert!(!lab.path("sluice.sock").exists(), "an orderly stop takes the socket along");
    let _daemon = Daemon::start(&lab);
}
