//! A member of `control.group`: what it can do with the control socket, and what not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sluice_testkit::{Finished, Lab, program};

use crate::control::{GROUP, STATUS, answer, config, start};
use crate::crowd::{assert_it_works, files};

/// A user that is in no other group.
const MEMBER: u32 = 65534;

/// Runs `sluice` as a member.
fn as_member(lab: &Lab, arguments: &[&str]) -> Finished {
    let (user, group) = (MEMBER.to_string(), GROUP.1.to_string());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--groups", &group, "--"]).arg(lab.path("sluice"));
    let (file, socket) = (lab.config(), lab.path("sluice.sock"));
    lab.finish(command.args(arguments).env("SLUICE_CONFIG", file).env("SLUICE_SOCKET", socket))
}

/// A POST with a body of JSON.
fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn member_of_the_group_can_do_what_is_documented_and_nothing_else() {
    let lab = Lab::new();
    let daemon = start(&lab);
    fs::copy(program("sluice"), lab.path("sluice")).unwrap();
    let backend = "web/10.0.2.11:8080";
    for arguments in [
        &["status"][..],
        &["status", "--check"],
        &["connections"],
        &["events"],
        &["drain", "--reason", "update", backend],
        &["overrides"],
        &["enable", backend],
        &["disable", backend],
        &["weight", backend, "3"],
        &["reset", backend],
        &["reload"],
        &["plan"],
    ] {
        as_member(&lab, arguments).expect(0);
    }
    // Tables of other programs are read with the rights of the caller.
    assert!(as_member(&lab, &["status", "--json"]).json()["conflicts"].is_null());
    let ruleset = lab.ruleset();
    for arguments in [&["apply"][..], &["cleanup"], &["explain", "198.51.100.7", "203.0.113.10:80"]] {
        let refused = as_member(&lab, arguments);
        assert!(refused.code.is_some_and(|code| code != 0), "{arguments:?}: {refused:?}");
    }
    fs::write(lab.config(), "services: {}").unwrap();
    fs::set_permissions(lab.config(), Permissions::from_mode(0o600)).unwrap();
    // The daemon runs as root and could read all files, but reads only its own one.
    fs::write(lab.path("secret.yaml"), "swordfish").unwrap();
    fs::set_permissions(lab.path("secret.yaml"), Permissions::from_mode(0o600)).unwrap();
    let socket = lab.path("sluice.sock");
    let secret = lab.path("secret.yaml").display().to_string();
    for text in [format!("include: {secret}"), "include: secret.yaml".to_owned(), "services: 7".to_owned()] {
        let file = serde_json::json!({"file": {"path": secret, "text": text}}).to_string();
        let refused = answer(&socket, MEMBER, &post("/api/v1/plan", &file));
        assert!(refused.starts_with("HTTP/1.1 400 ") && !refused.contains("swordfish"), "{refused}");
    }
    for path in ["/api/v1/stop", "/api/v1/config", "/api/v1/status", "/secret.yaml"] {
        let refused = answer(&socket, MEMBER, &post(path, &format!("{{\"file\": \"{secret}\"}}")));
        assert!(refused.starts_with("HTTP/1.1 40"), "{path}: {refused}");
    }
    assert_eq!(lab.ruleset(), ruleset);
    assert!(daemon.stop().success());
}

#[test]
fn member_who_reloads_and_changes_all_the_time_keeps_neither_root_nor_probes_nor_a_stop_waiting() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let (socket, ends, answers) = (lab.path("sluice.sock"), AtomicBool::new(false), AtomicUsize::new(0));
    let change = |admin: &str| {
        let backend = "\"service\": \"web\", \"backend\": \"10.0.2.11:8080\"";
        post("/api/v1/override", &format!("{{{backend}, \"change\": {{\"admin\": \"{admin}\"}}}}"))
    };
    let requests = [
        post("/api/v1/reload", ""),
        change("drain"),
        change("enabled"),
        "GET /api/v1/connections HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        post("/api/v1/plan", ""),
        STATUS.to_owned(),
    ];
    thread::scope(|scope| {
        for first in 0..24 {
            let (requests, socket, ends, answers) = (&requests, &socket, &ends, &answers);
            scope.spawn(move || {
                for request in requests.iter().cycle().skip(first) {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = answer(socket, MEMBER, request);
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let before = answers.load(Ordering::Relaxed);
        assert!(files(&daemon) < 400, "{} files", files(&daemon));
        lab.sluice(&["status"]).expect(0);
        lab.sluice(&["weight", "web/10.0.2.12:8080", "2"]).expect(0);
        lab.sluice(&["reset", "web/*"]).expect(0);
        fs::write(lab.config(), config(&lab, ", 10.0.2.13:8080")).expect("write the configuration");
        lab.sluice(&["reload"]).expect(0);
        assert!(answers.load(Ordering::Relaxed) > before, "the member is answered, too");
        ends.store(true, Ordering::Relaxed);
    });
    lab.sluice(&["enable", "web/10.0.2.11:8080"]).expect(0);
    assert_it_works(&lab);
    assert!(daemon.stop().success());
}
