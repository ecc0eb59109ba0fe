//! A user of the balancer without privileges: neither root, nor the daemon's user, nor a member of its group.

use std::net::TcpListener;
use std::process::Command;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use sluice_testkit::{Daemon, Finished, Lab, eventually};

use crate::launch::{nobodys, sluiced_as_nobody};
use crate::web;

const VIP: &str = "203.0.113.10:80";
const PAGE: &str = "10.0.1.1:9180";

/// The user.
const MALLORY: u32 = 65533;

/// Runs a shell command as this user.
fn as_mallory(lab: &Lab, command: &str) -> Finished {
    let user = MALLORY.to_string();
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "sh", "-c", command]);
    lab.finish(setpriv.current_dir(lab.path(".")))
}

#[test]
fn user_without_privileges_can_neither_read_nor_lock_nor_change_anything_nor_send_signals() {
    let lab = nobodys();
    let sluiced = sluiced_as_nobody(&lab);
    lab.configure(&web());
    let daemon = Daemon::start_program(&lab, &sluiced, &[]);
    lab.sluice(&["drain", "web/10.0.2.11:8080"]).expect(0);
    let before = (lab.ruleset(), lab.sluice(&["overrides", "--json"]).expect(0).stdout);
    for command in [
        "cat backends.json",
        "cat state.json",
        "flock --nonblock sluiced.lock true",
        "echo '{}' > backends.json",
        "touch mine",
        "ln --symbolic /etc/shadow state.json.new",
        "rm --force sluice.sock",
        "rm --force sluiced.lock",
        "echo 'services: {}' > sluice.yaml",
        &format!("kill -TERM {}", daemon.pid()),
        &format!("kill -USR2 {}", daemon.pid()),
        &format!("cat /proc/{}/environ", daemon.pid()),
        "nft list ruleset",
        "nft delete table inet sluice",
        "conntrack -L",
        "curl --silent --show-error --unix-socket sluice.sock http://sluice/api/v1/status",
    ] {
        let refused = as_mallory(&lab, command);
        assert!(refused.code.is_some_and(|code| code != 0), "{command}: {refused:?}");
        let reasons = ["ermission denied", "not permitted", "must be root", "Couldn't connect"];
        assert!(reasons.iter().any(|reason| refused.stderr.contains(reason)), "{command}: {refused:?}");
    }
    assert_eq!((lab.ruleset(), lab.sluice(&["overrides", "--json"]).expect(0).stdout), before);
    assert!(daemon.stop().success());
}

#[test]
fn user_who_has_the_address_of_the_page_keeps_no_daemon_from_starting_or_reloading() {
    let lab = Lab::new();
    let taken = lab.balancer.run(|| {
        let (root, mallory) = (Uid::ROOT, Uid::from_raw(MALLORY));
        set_thread_res_uid(root, mallory, root).expect("become another user");
        let taken = TcpListener::bind(PAGE);
        set_thread_res_uid(root, root, root).expect("become root again");
        taken.expect("bind")
    });
    let file = |backend: &str| {
        format!(
            "http: {{listen: '{PAGE}'}}\nrefresh: 1s
services: {{web: {{listen: '{VIP}', backends: ['{backend}:8080']}}}}"
        )
    };
    let mut daemon = lab.start(&file("10.0.2.11"));
    let error = || lab.sluice(&["status", "--json"]).expect(0).json()["daemon"]["http_error"].clone();
    assert_eq!(
        error(),
        format!("listen on {PAGE}, which is http.listen: Address already in use (os error 98)")
    );
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains(&format!("http    no status page and no metrics: listen on {PAGE}")), "{told}");
    daemon.reload(&file("10.0.2.12"));
    assert_eq!(lab.client.tcp(VIP).expect("an answer").backend, "b2");

    drop(taken);
    eventually("the next refresh opens it", || error().is_null().then_some(()));
    let page = lab.balancer.sh(&format!("curl --silent --show-error http://{PAGE}/healthz"));
    assert_eq!(page, "ok\n");
}
