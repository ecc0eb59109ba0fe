//! The control socket with many, slow and greedy clients of its group.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use sluice_testkit::{Daemon, Lab, eventually};

use crate::crowd::{Turn, assert_it_works, files, memory};

/// A group of Debian, and its id.
pub(crate) const GROUP: (&str, u32) = ("users", 100);

/// Number of connections of each user of a crowd.
const CROWD: usize = 3_000;

/// Maximum time of a response to another client meanwhile.
const WAIT: Duration = Duration::from_secs(5);

/// Limit of the daemon's memory growth because of a crowd, in bytes.
const ROOM: u64 = 96 << 20;

pub(crate) const STATUS: &str = "GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

pub(crate) fn config(lab: &Lab, more: &str) -> String {
    format!(
        "services:
  web:
    listen: 203.0.113.10:80
    health: {{tcp: {{}}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}}
    backends: [10.0.2.11:8080, 10.0.2.12:8080{more}]
control: {{socket: {}, group: {}}}
",
        lab.path("sluice.sock").display(),
        GROUP.0
    )
}

/// A daemon whose socket the group can reach.
pub(crate) fn start(lab: &Lab) -> Daemon<'_> {
    fs::set_permissions(lab.path("."), Permissions::from_mode(0o711)).expect("open the directory");
    fs::write(lab.config(), config(lab, "")).expect("write the configuration");
    Daemon::start(lab)
}

/// Runs `work` on a thread of a member of the group.
pub(crate) fn as_member<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(GROUP.1));
    let member = || {
        set_thread_groups(&[]).expect("leave all groups");
        set_thread_res_gid(gid, gid, gid).expect("become a member");
        set_thread_res_uid(uid, uid, uid).expect("become another user");
        work()
    };
    thread::scope(|scope| scope.spawn(member).join().expect("no panic"))
}

/// Connections of a user that say these texts in turn, open as long as the daemon permits.
fn crowd(socket: &Path, uid: u32, says: &[&str]) -> Vec<UnixStream> {
    let one = |n: usize| {
        let mut stream = UnixStream::connect(socket).expect("connect");
        // A refused client cannot send, and one whose request is not read cannot send all.
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("set a timeout");
        let _ = stream.write_all(says[n % says.len()].as_bytes());
        stream
    };
    as_member(uid, || (0..CROWD).map(one).collect())
}

/// The response to a request of a user, in time.
pub(crate) fn answer(socket: &Path, uid: u32, request: &str) -> String {
    let began = Instant::now();
    let mut stream = as_member(uid, || UnixStream::connect(socket).expect("connect"));
    stream.set_read_timeout(Some(WAIT)).expect("set a timeout");
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    assert!(began.elapsed() < WAIT, "{answer}");
    answer
}

#[test]
fn crowd_of_one_member_of_the_group_keeps_no_other_user_from_the_socket() {
    let lab = Lab::new();
    let _daemon = start(&lab);
    let (_turn, socket) = (Turn::take(), lab.path("sluice.sock"));
    let (crowded, other) = (65534, 1);
    let _crowd = crowd(&socket, crowded, &["", "GET /api/v1/status HTTP/1.1\r\nx: ", "POST "]);
    assert!(answer(&socket, other, STATUS).starts_with("HTTP/1.1 200 "));
    lab.sluice(&["status"]).expect(0);
    // Only so many refused clients get an answer at a time.
    eventually("a refused client is told why", || {
        let refused = answer(&socket, crowded, STATUS);
        (refused.starts_with("HTTP/1.1 503 ") && refused.contains("too many connections")).then_some(())
    });
}

#[test]
fn crowd_of_the_group_on_the_control_socket_keeps_neither_root_nor_probes_nor_flips_waiting() {
    let lab = Lab::new();
    let daemon = start(&lab);
    lab.sluice(&["status"]).expect(0);
    let (_turn, socket, before) = (Turn::take(), lab.path("sluice.sock"), memory(&daemon));
    // They are slow, request much and read nothing, follow changes, and announce bodies that do not come.
    let much = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let body = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{}",
            " ".repeat(length.min(200_000) - 1)
        )
    };
    let (plan, overrides) = (body("/api/v1/plan", 60 << 20), body("/api/v1/overrides", 200_000));
    let live = "GET /api/v1/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let says = ["", "GET /api/v1/status HTTP/1.1\r\nx: ", live, &much, &plan, &overrides];
    let members = [65534, 1, 2, 3];
    let crowds: Vec<_> = members.iter().map(|uid| crowd(&socket, *uid, &says)).collect();
    assert!(files(&daemon) < 700, "{} files", files(&daemon));

    lab.sluice(&["status"]).expect(0);
    lab.sluice(&["drain", "web/10.0.2.11:8080"]).expect(0);
    lab.sluice(&["plan"]).expect(0);
    lab.sluice(&["enable", "web/10.0.2.11:8080"]).expect(0);
    fs::write(lab.config(), config(&lab, ", 10.0.2.13:8080")).expect("write the configuration");
    lab.sluice(&["reload"]).expect(0);
    assert_it_works(&lab);
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < ROOM, "{grown} bytes more");

    drop(crowds);
    eventually("there is room again", || {
        answer(&socket, members[3], STATUS).starts_with("HTTP/1.1 200 ").then_some(())
    });
}
