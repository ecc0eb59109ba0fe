//! The state directory: of another user, full, read-only, or missing.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sluice_testkit::{Daemon, Finished, Lab, program};

use crate::launch::{self, NOBODY, nobodys, sluiced_as_nobody};
use crate::web;

const VIP: &str = "203.0.113.10:80";
const FORWARD4: &str = "net/ipv4/ip_forward";
const BACKEND: &str = "web/10.0.2.11:8080";

/// `sluiced` in its own mount namespace, in which these commands mount a small file system as the state
/// directory.
fn sluiced_on(lab: &Lab, mounts: &str) -> PathBuf {
    fs::create_dir(lab.path("state")).unwrap();
    launch::sluiced_on(lab, mounts, program("sluiced").to_str().unwrap())
}

fn configure(lab: &Lab) {
    lab.configure(&format!("{}\nstate: {}", web(), lab.path("state").display()));
}

fn status(lab: &Lab) -> Value {
    lab.sluice(&["status", "--json"]).expect(0).json()
}

fn get(lab: &Lab, path: &str) -> String {
    let mut socket = UnixStream::connect(lab.path("sluice.sock")).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

fn metric(lab: &Lab) -> String {
    let text = get(lab, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix("sluice_state_directory_writable "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Checks that the daemon serves, and reports everywhere that state is not saved, with this reason.
fn assert_serves_and_says(lab: &Lab, why: &str) {
    assert_eq!(lab.client.tcp_shares(8, VIP), lab.even(2));
    let drained = lab.sluice(&["drain", BACKEND]).expect(0);
    assert!(drained.stdout.starts_with(&format!("{BACKEND}: drain")), "{}", drained.stdout);
    let warning = "warning: drain: the change is not saved, a restart of sluiced loses it: ";
    assert!(drained.stderr.starts_with(warning) && drained.stderr.contains(why), "{}", drained.stderr);
    let answer = lab.sluice(&["weight", BACKEND, "3", "--json"]).expect(0).json();
    assert!(answer["not_remembered"].as_str().unwrap().contains(why), "{answer}");
    lab.sluice(&["enable", BACKEND]).expect(0);
    lab.sluice(&["weight", BACKEND, "default"]).expect(0);

    let shown = status(lab);
    assert_eq!(shown["state"]["directory"], lab.path("state").to_str().unwrap());
    let problems = shown["state"]["problems"].to_string();
    assert!(problems.contains(why), "{problems}");
    let text = lab.sluice(&["status"]).expect(0).stdout;
    assert!(text.contains("is not writable: a restart loses state") && text.contains(why), "{text}");
    assert_eq!(metric(lab), "0");
    let found = lab.sluice(&["doctor", "--fail-on=warning"]).expect(3).stdout;
    assert!(
        found.contains("state is not writable: a restart of sluiced loses") && found.contains(why),
        "{found}"
    );
    assert!(get(lab, "/healthz").starts_with("HTTP/1.0 200 OK"), "the process is well");
}

#[test]
fn root_follows_nothing_that_another_user_has_put_into_the_state_directory() {
    let lab = nobodys();
    // In a directory that only root can write to.
    let roots = lab.path("roots");
    fs::create_dir(&roots).unwrap();
    fs::set_permissions(&roots, Permissions::from_mode(0o700)).unwrap();
    let victims = ["lock", "new", "state", "sysctl", "up", "target"].map(|name| roots.join(name));
    let [lock, new, state, sysctl, up, target] = &victims;
    victims.iter().for_each(|victim| fs::write(victim, "1").unwrap());
    let plant = |target: &Path, name: &str| {
        let link = lab.path(name);
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let core = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let ttl = lab.balancer.sysctl("net/ipv4/ip_default_ttl");
    let change = |key: &str, now: &str, was: &str| json!({"key": key, "was": was, "now": now});
    let above = format!("../../../../../../../../{}", up.strip_prefix("/").unwrap().display());
    let planted = json!({"version": 1, "boot": boot.trim(), "sysctls": [
        change(sysctl.to_str().unwrap(), "1", "0"),
        change(&above, "1", "0"),
        change(&format!("net/ipv6/conf/{above}/accept_ra"), "1", "0"),
        // The value that would be written is the current one, because this sysctl belongs to the machine.
        change("kernel/core_pattern", core.trim(), core.trim()),
        change("net/ipv4/ip_default_ttl", &ttl, "63"),
    ]});
    let plant_state = || {
        let file = lab.path("state.json");
        let _ = fs::remove_file(&file);
        fs::write(&file, planted.to_string()).unwrap();
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    };
    let unchanged = |after: &str| {
        for victim in &victims {
            assert_eq!(fs::read_to_string(victim).unwrap(), "1", "{} after {after}", victim.display());
        }
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), core, "after {after}");
        assert_eq!(lab.balancer.sysctl("net/ipv4/ip_default_ttl"), ttl, "after {after}");
        assert_eq!(fs::read_dir(&roots).unwrap().count(), victims.len(), "after {after}");
    };
    lab.configure(&web());
    plant(new, "state.json.new");
    plant_state();
    // Without a lock file, and then with a symbolic link in its place.
    for locked in [false, true] {
        if locked {
            let _ = fs::remove_file(lab.path("sluiced.lock"));
            plant(lock, "sluiced.lock");
        }
        plant_state();
        lab.sluice(&["cleanup"]).expect(0);
        unchanged("cleanup");
        plant_state();
        plant(new, "state.json.new");
        lab.sluice(&["apply", lab.config().to_str().unwrap()]).expect(0);
        unchanged("apply");
        lab.sluice(&["cleanup"]).expect(0);
        unchanged("cleanup after apply");
        assert_eq!(lab.ruleset(), "");
        lab.balancer.set_sysctl(FORWARD4, "0");
    }
    plant(state, "state.json");
    lab.sluice(&["cleanup"]).expect(1);
    unchanged("cleanup with a linked state.json");

    // The directory itself, and a component of its path.
    fs::remove_file(target).unwrap();
    fs::create_dir(target).unwrap();
    plant(target, "link");
    for directory in ["link", "link/deeper"] {
        lab.configure(&format!("{}\nstate: {}", web(), lab.path(directory).display()));
        for arguments in [&["apply", lab.config().to_str().unwrap()][..], &["cleanup"]] {
            let told = lab.sluice(arguments).stderr;
            assert!(told.contains("link is a symbolic link of uid 65534"), "{told}");
        }
        assert_eq!(fs::read_dir(target).unwrap().count(), 0, "{directory}");
    }
}

#[test]
fn apply_and_cleanup_by_root_before_the_first_start_leave_nothing_in_the_daemons_way() {
    for before in
        [&["apply"][..], &["cleanup"], &["apply", "cleanup"], &["cleanup", "apply"], &["apply", "apply"]]
    {
        let lab = nobodys();
        let sluiced = sluiced_as_nobody(&lab);
        lab.configure(&web());
        before.iter().for_each(|command| drop(lab.sluice(&[command]).expect(0)));
        for name in ["sluiced.lock", "state.json"] {
            if let Ok(file) = fs::metadata(lab.path(name)) {
                assert_eq!((file.uid(), file.gid()), (NOBODY, NOBODY), "{name} after {before:?}");
            }
        }
        let daemon = Daemon::start_program(&lab, &sluiced, &[]);
        assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
        assert_eq!(status(&lab)["state"]["problems"], json!([]), "after {before:?}");
        let drained = lab.sluice(&["drain", BACKEND]).expect(0);
        assert_eq!(drained.stderr, "");
        assert!(daemon.stop().success());
        assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()), "{before:?}");
        // In both directions: root after the daemon, and the daemon after root.
        lab.sluice(&["apply"]).expect(0);
        lab.sluice(&["cleanup"]).expect(0);
        let daemon = Daemon::start_program(&lab, &sluiced, &[]);
        assert_eq!(status(&lab)["services"][0]["backends"][0]["admin"], "drain", "{before:?}");
        daemon.crash();
        lab.sluice(&["cleanup"]).expect(0);
        assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()), "{before:?}");
    }
}

#[test]
fn lock_of_root_from_an_older_version_keeps_no_daemon_from_starting() {
    let lab = nobodys();
    let sluiced = sluiced_as_nobody(&lab);
    lab.configure(&web());
    for (name, text) in [("sluiced.lock", "1\n"), ("state.json", "{}")] {
        fs::write(lab.path(name), text).unwrap();
    }
    let daemon = Daemon::start_program(&lab, &sluiced, &[]);
    assert_eq!(status(&lab)["state"]["problems"], json!([]));
    assert!(lab.sluice(&["apply"]).expect(1).stderr.contains("sluiced is running"));
    assert!(daemon.stop().success());
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0");
}

#[test]
fn daemon_on_a_full_disk_starts_serves_and_says_that_it_will_not_remember() {
    let lab = Lab::new();
    configure(&lab);
    let full = "mount -t tmpfs -o size=64k none $lab/state
                dd if=/dev/zero of=$lab/state/fill bs=4k count=16 2> /dev/null";
    let daemon = Daemon::start_program(&lab, &sluiced_on(&lab, full), &[]);
    assert_serves_and_says(&lab, "No space left on device");
    // After space was freed, the next change is saved, and so is the state that could not be written before.
    lab.balancer.sh(&format!(
        "nsenter --mount --target {} -- rm {}/fill",
        daemon.pid(),
        lab.path("state").display()
    ));
    let drained = lab.sluice(&["drain", BACKEND]).expect(0);
    assert_eq!(drained.stderr, "");
    assert!(daemon.stop().success());
    assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()));
}

#[test]
fn daemon_that_cannot_even_make_a_lock_starts_alone() {
    for (mounts, why) in [
        ("mount -t tmpfs -o nr_inodes=1 none $lab/state", "No space left on device"),
        ("mount -t tmpfs -o ro none $lab/state", "Read-only file system"),
        // The file system had a lock file, and is now read-only.
        (
            "mount -t tmpfs none $lab/state; touch $lab/state/sluiced.lock; mount -o remount,ro $lab/state",
            "Read-only file system",
        ),
    ] {
        let lab = Lab::new();
        configure(&lab);
        let daemon = Daemon::start_program(&lab, &sluiced_on(&lab, mounts), &[]);
        assert_serves_and_says(&lab, why);
        // The claim to the table excludes a second daemon, and the commands that work without one.
        fs::write(
            lab.path("other.yaml"),
            format!("{}\ncontrol: {{socket: {}}}", web(), lab.path("other.sock").display()),
        )
        .unwrap();
        let other = lab.path("other.yaml");
        let refused = lab.sluiced(&["-c", other.to_str().unwrap()]);
        assert!(refused.code != Some(0), "{}", refused.stderr);
        assert!(daemon.stop().success());
        assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()));
    }
}

#[test]
fn daemon_without_rights_to_its_state_directory_starts_and_says_so() {
    let lab = nobodys();
    fs::create_dir(lab.path("state")).unwrap();
    configure(&lab);
    let daemon = Daemon::start_program(&lab, &sluiced_as_nobody(&lab), &[]);
    assert_serves_and_says(&lab, "Permission denied");
    daemon.crash();
    // The record that it was off is lost.
    lab.balancer.set_sysctl(FORWARD4, "0");
    fs::remove_dir(lab.path("state")).unwrap();
    fs::create_dir(lab.path("state")).unwrap();
    fs::set_permissions(lab.path("state"), Permissions::from_mode(0o500)).unwrap();
    chown(lab.path("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    let daemon = Daemon::start_program(&lab, &lab.path("script"), &[]);
    assert_serves_and_says(&lab, "Permission denied");
    assert!(daemon.stop().success());
    assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()));
}

#[test]
fn cleanup_names_what_it_cannot_put_back_and_fails() {
    let lab = Lab::new();
    lab.start(&web()).crash();
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let mut cleanup = Command::new("unshare");
    cleanup.args(["--mount", "--propagation", "private", "--", "sh", "-c", read_only, "sh"]);
    cleanup.arg(program("sluice")).arg("cleanup").arg("-c").arg(lab.config());
    let told = lab.finish(&mut cleanup).expect(1);
    let why = "left: sysctl net.ipv4.ip_forward is not put back to 0: write sysctl net.ipv4.ip_forward: Read-only file system";
    assert!(told.stderr.contains(why), "{}", told.stderr);
    assert!(!told.stdout.contains("sysctls are restored"), "{}", told.stdout);
    assert_eq!(lab.ruleset(), "", "the table goes all the same");

    // In a container, whose boot id may differ from that of the daemon's unit.
    let (file, boot) =
        (lab.path("state.json"), fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap());
    let recorded = fs::read_to_string(&file).unwrap();
    fs::write(&file, recorded.replace(boot.trim(), "other")).unwrap();
    let told = lab.sluice(&["cleanup"]).expect(1).stderr;
    assert!(
        told.contains("net.ipv4.ip_forward is 1, to which sluice changed it from 0 under boot id other"),
        "{told}"
    );
    assert!(told.contains("`sysctl -w net.ipv4.ip_forward=0`"), "{told}");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "1");

    fs::write(&file, "{").unwrap();
    let told = lab.sluice(&["cleanup"]).expect(1).stderr;
    assert!(told.contains("left: which sysctls sluice has changed is not known"), "{told}");

    fs::write(&file, recorded).unwrap();
    let done: Finished = lab.sluice(&["cleanup"]).expect(0);
    assert_eq!(done.stdout, "removed: table inet sluice and announced addresses; sysctls are restored\n");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0");
}

#[test]
fn cleanup_with_a_bad_file_goes_on_with_what_the_command_line_names() {
    let lab = Lab::new();
    lab.start(&web()).crash();
    fs::write(lab.config(), "services: [").unwrap();
    let state = lab.path("");
    let done = lab.sluice(&["cleanup", "--state", state.to_str().unwrap()]).expect(0);
    assert!(done.stderr.contains("sluice.yaml:2:1: error"), "{}", done.stderr);
    assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()));
}

#[test]
fn file_whose_path_is_no_utf_8_is_served_and_shown_with_replacements() {
    let lab = Lab::new();
    lab.configure(&web());
    let copy = "cp $lab/sluice.yaml \"$lab/$(printf 'x\\377.yaml')\"; shift 2";
    let sluiced = format!("{} -c \"$lab/$(printf 'x\\377.yaml')\"", program("sluiced").display());
    let _daemon = Daemon::start_program(&lab, &lab.sluiced_after(copy, &sluiced), &[]);
    assert!(status(&lab)["daemon"]["config"].as_str().unwrap().ends_with("x\u{fffd}.yaml"));
    let text = lab.sluice(&["status"]).expect(0).stdout;
    assert!(text.contains("x\u{fffd}.yaml, loaded"), "{text}");
    lab.sluice(&["reload"]).expect(0);
    assert_eq!(metric(&lab), "1");
}
