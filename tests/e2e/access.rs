//! Access to the control socket: root, and the members of `control.group`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use sluice_testkit::{Daemon, Finished, Lab, program};

use crate::web;

/// User and group `nobody` and `nogroup` of Debian.
const NOBODY: &str = "65534";
/// A group of Debian, and its id.
const GROUP: (&str, &str) = ("users", "100");

/// A lab whose directory is accessible to every user, so that only the mode of the socket matters, with a `sluice` for every user.
fn open_lab(group: &str) -> Lab {
    let lab = Lab::new();
    fs::set_permissions(lab.path("."), Permissions::from_mode(0o711)).unwrap();
    fs::copy(program("sluice"), lab.path("sluice")).unwrap();
    let socket = lab.path("sluice.sock");
    fs::write(lab.config(), format!("{}\ncontrol: {{socket: {}{group}}}\n", web(), socket.display()))
        .unwrap();
    lab
}

/// Runs `sluice` as user `nobody` with only these groups.
fn as_nobody(lab: &Lab, groups: &[&str], arguments: &[&str]) -> Finished {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY]);
    match groups {
        [] => command.arg("--clear-groups"),
        groups => command.arg("--groups").arg(groups.join(",")),
    };
    command.arg("--").arg(lab.path("sluice")).args(arguments).env("SLUICE_SOCKET", lab.path("sluice.sock"));
    lab.finish(&mut command)
}

fn mode(lab: &Lab) -> u32 {
    fs::metadata(lab.path("sluice.sock")).unwrap().permissions().mode() & 0o777
}

fn assert_refused(refused: Finished, lab: &Lab) {
    let said = refused.expect(1).stderr;
    let socket = lab.path("sluice.sock");
    assert!(
        said.contains(&format!("not allowed to talk to sluiced: connect {}", socket.display())),
        "{said}"
    );
    assert!(said.contains("run as root, or join the group in control.group"), "{said}");
}

fn first_backend(lab: &Lab) -> Value {
    lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["backends"][0].clone()
}

#[test]
fn socket_without_a_group_refuses_everybody_but_root_and_says_what_to_do() {
    let lab = open_lab("");
    let _daemon = Daemon::start(&lab);
    assert_eq!(mode(&lab), 0o600);
    for arguments in [&["status"][..], &["reload"], &["drain", "web/10.0.2.11:8080"], &["connections"]] {
        assert_refused(as_nobody(&lab, &[], arguments), &lab);
        assert_refused(as_nobody(&lab, &[GROUP.1], arguments), &lab);
    }
    assert_eq!(first_backend(&lab)["admin"], "enabled");
    assert_eq!(lab.sluice(&["status", "--json"]).expect(0).json()["reload"]["generation"], 1);
}

#[test]
fn socket_with_a_group_lets_its_members_in_and_nobody_else() {
    let lab = open_lab(&format!(", group: {}", GROUP.0));
    let _daemon = Daemon::start(&lab);
    assert_eq!(mode(&lab), 0o660);
    assert_refused(as_nobody(&lab, &[], &["drain", "web/10.0.2.11:8080"]), &lab);
    assert_eq!(first_backend(&lab)["admin"], "enabled");

    as_nobody(&lab, &[GROUP.1], &["status"]).expect(0);
    as_nobody(&lab, &[GROUP.1], &["drain", "web/10.0.2.11:8080"]).expect(0);
    let drained = first_backend(&lab);
    assert_eq!(drained["admin"], "drain");
    // The kernel reports the user id, not the client.
    assert_eq!(drained["override"]["uid"].to_string(), NOBODY);
}
