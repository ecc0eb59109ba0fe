//! Tests with state directories that are intact, damaged, full, or owned by other users.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use tokio::sync::mpsc;

use super::record_queue::RecordQueue;
use super::*;

/// A state directory that is deleted at the end of the test.
pub(crate) struct Scratch {
    dir: StateDir,
    root: tempfile::TempDir,
}

impl Default for Scratch {
    fn default() -> Self {
        let root = tempfile::tempdir().unwrap();
        Scratch { dir: StateDir::open(root.path()).unwrap(), root }
    }
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn files(&self) -> Files {
        self.dir.files()
    }

    /// A writer without orders.
    pub(crate) fn record_writer(&self) -> RecordWriter {
        RecordQueue::new(self.files(), mpsc::unbounded_channel().0).1
    }
}

/// A user that is not root and not we.
const MALLORY: u32 = 12345;

pub(super) fn state(sysctls: usize) -> SysctlRecord {
    let changed = ChangedSysctl { key: "net/ipv4/ip_forward".into(), was: "0".into(), now: "1".into() };
    let mut state = SysctlRecord::none("b");
    state.sysctls = vec![changed; sysctls];
    state
}

fn load(dir: &StateDir) -> SysctlRecord {
    SysctlRecord::load(&dir.files(), "b").state
}

/// A directory that belongs to another user, in one that is ours.
fn foreign() -> (tempfile::TempDir, PathBuf) {
    assert!(geteuid().is_root(), "giving files away takes root: SLUICE_SUDO=1 cargo test -p sluiced --lib");
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = root.path().join("state");
    fs::create_dir(&path).unwrap();
    chown(&path, Some(MALLORY), Some(MALLORY)).unwrap();
    (root, path)
}

/// The one problem that there is.
fn problem(dir: &StateDir) -> String {
    let [problem] = &dir.problems()[..] else { panic!("{:?}", dir.problems()) };
    problem.clone()
}

#[test]
fn state_saved_is_loaded_by_the_next_daemon() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let dir = StateDir::open(&path).unwrap();
    assert_eq!(load(&dir), state(0));
    state(1).save(&dir.files()).unwrap();
    drop(dir);
    assert_eq!(load(&StateDir::open(&path).unwrap()), state(1));
    assert!(!path.join("state.json.new").exists());
    assert_eq!(fs::metadata(path.join("state.json")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn state_that_is_corrupt_or_from_the_future_counts_as_none() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    const FUTURE: &str = r#"{"version":2,"boot":"b","sysctls":[{"key":"x","was":"0","now":"1"}]}"#;
    for text in ["", "{", "\u{0}\u{0}", "[1]", FUTURE, r#"{"version":1}"#] {
        fs::write(root.path().join("state.json"), text).unwrap();
        let recorded = SysctlRecord::load(&dir.files(), "b");
        assert_eq!(recorded.state, state(0), "{text:?}");
        assert!(recorded.unreadable.is_some(), "{text:?}");
    }
    state(1).save(&dir.files()).unwrap();
    assert_eq!(load(&dir), state(1));
}

#[test]
fn state_that_names_what_sluice_never_changes_counts_without_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    let change =
        |key: &str, was: &str, now: &str| ChangedSysctl { key: key.into(), was: was.into(), now: now.into() };
    let mut planted = state(1);
    planted.sysctls.extend([
        change("/etc/passwd", "0", "1"),
        change("../../tmp/x", "0", "1"),
        change("kernel/core_pattern", "|/tmp/x", "core"),
        change("net/ipv6/conf/../../../x/accept_ra", "1", "2"),
        change("net/ipv4/ip_forward", "1", "0"),
        change("net/ipv6/conf/all/forwarding", "0\n", "1"),
    ]);
    fs::write(root.path().join("state.json"), serde_json::to_vec(&planted).unwrap()).unwrap();
    assert_eq!(load(&dir), state(1));
}

#[test]
fn state_of_another_boot_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    state(1).save(&dir.files()).unwrap();
    let recorded = SysctlRecord::load(&dir.files(), "c");
    assert_eq!(recorded.state, SysctlRecord::none("c"));
    assert_eq!(recorded.before, Some(("b".to_owned(), state(1).sysctls)));
}

#[test]
fn state_directory_in_use_names_the_owner() {
    let root = tempfile::tempdir().unwrap();
    let _first = StateDir::open(root.path()).unwrap();
    let error = StateDir::open(root.path()).unwrap_err().to_string();
    let expected = format!("another sluiced (pid {}) uses the state directory", std::process::id());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn state_directory_that_is_a_file_is_a_problem_and_needs_the_namespace_lock() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = StateDir::open(file.path()).unwrap();
    let expected =
        format!("open the state directory {}: Not a directory (os error 20)", file.path().display());
    assert_eq!(problem(&dir), expected);
    let refused = dir.ensure_alone(false).unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("find out whether another sluiced runs: {expected} (")),
        "{refused}"
    );
    state(1).save(&dir.files()).unwrap_err();
}

#[test]
fn state_directory_that_was_mended_is_used_and_locked_from_then_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    fs::write(&path, "").unwrap();
    let dir = StateDir::open(&path).unwrap();
    state(1).save(&dir.files()).unwrap_err();
    fs::remove_file(&path).unwrap();
    state(1).save(&dir.files()).unwrap();
    assert_eq!((load(&dir), dir.problems()), (state(1), vec![]));
    assert!(matches!(StateDir::open(&path), Err(FileError::InUse { .. })));
}

#[test]
fn file_that_cannot_be_written_is_a_problem_until_it_is() {
    let root = tempfile::tempdir().unwrap();
    let dir = StateDir::open(root.path()).unwrap();
    let in_the_way = root.path().join("state.json.new");
    fs::create_dir(&in_the_way).unwrap();
    state(1).save(&dir.files()).unwrap_err();
    let path = root.path().join("state.json");
    assert_eq!(problem(&dir), format!("write {}: Is a directory (os error 21)", path.display()));
    dir.files().replace("other", b"", Durable::No).unwrap();
    assert!(!dir.problems().is_empty(), "another file does not mend it");
    fs::remove_dir(&in_the_way).unwrap();
    state(1).save(&dir.files()).unwrap();
    assert_eq!(dir.problems(), [""; 0]);
}

#[test]
fn files_of_a_directory_that_is_no_longer_locked_are_not_written() {
    let root = tempfile::tempdir().unwrap();
    let files = StateDir::open(root.path()).unwrap().files();
    assert!(matches!(files.replace("x", b"", Durable::No), Err(FileError::Ended(_))));
    assert!(!root.path().join("x").exists());
}

#[test]
fn file_that_others_could_have_put_there_is_neither_read_nor_written() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    let path = root.path().join("state");
    let dir = StateDir::open(&path).unwrap();
    fs::write(&victim, "precious").unwrap();
    let file = path.join("x");
    let plants: [(&str, &dyn Fn()); 4] = [
        ("it is a symbolic link", &|| symlink(&victim, &file).unwrap()),
        ("it has several hard links", &|| fs::hard_link(&victim, &file).unwrap()),
        ("it is no regular file", &|| mkfifo(&file, Mode::from_bits_truncate(0o666)).unwrap()),
        ("it is no regular file", &|| fs::create_dir(&file).unwrap()),
    ];
    for (why, plant) in plants {
        plant();
        assert_eq!(dir.files().read("x").unwrap_err().to_string(), why);
        // A fifo without a reader cannot be opened to write, a directory never.
        dir.files().append("x", b"text").unwrap_err();
        fs::remove_dir(&file).or_else(|_| fs::remove_file(&file)).unwrap();
    }
    symlink(&victim, path.join("x.new")).unwrap();
    symlink(&victim, &file).unwrap();
    dir.files().replace("x", b"text", Durable::Yes).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    assert!(fs::symlink_metadata(&file).unwrap().is_file(), "it is not written through");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn lock_that_is_a_link_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let (victim, path) = (root.path().join("victim"), root.path().join("state"));
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(&path).unwrap();
    symlink(&victim, path.join("sluiced.lock")).unwrap();
    let dir = StateDir::open(&path).unwrap();
    let expected = format!("lock {}: it is a symbolic link", path.join("sluiced.lock").display());
    assert_eq!(problem(&dir), expected);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn directory_of_another_user_is_used_with_that_users_rights() {
    let (root, path) = foreign();
    let secret = root.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let dir = StateDir::open(&path).unwrap();
    dir.files().replace("x", b"text", Durable::Yes).unwrap();
    for name in ["x", "sluiced.lock"] {
        let metadata = fs::metadata(path.join(name)).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (MALLORY, MALLORY, 0o600));
    }
    assert_eq!(dir.files().read("x").unwrap().as_deref(), Some("text"));
    // We are ourselves again.
    assert_eq!(fs::read_to_string(&secret).unwrap(), "root's");

    // What the owner may not do, is not done for them.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    dir.files().replace("x", b"other", Durable::Yes).unwrap_err();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // A file of root's that they can rename, but not read.
    fs::rename(&secret, path.join("y")).unwrap();
    assert_eq!(dir.files().read("y").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    // A file of a third user.
    fs::write(path.join("z"), "").unwrap();
    chown(path.join("z"), Some(MALLORY + 1), None).unwrap();
    assert_eq!(dir.files().read("z").unwrap_err().to_string(), format!("it belongs to uid {}", MALLORY + 1));
}

#[test]
fn link_on_the_way_is_followed_if_root_made_it_and_not_if_another_user_did() {
    let (root, path) = foreign();
    let (ours, theirs) = (root.path().join("link"), path.join("link"));
    let target = root.path().join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, &ours).unwrap();
    drop(StateDir::open(&ours.join("deep/er")).unwrap());
    assert!(target.join("deep/er/sluiced.lock").exists());

    // In their directory, whoever seems to have made it: they can rename what is there.
    for owner in [MALLORY, 0] {
        symlink(&target, &theirs).unwrap();
        std::os::unix::fs::lchown(&theirs, Some(owner), None).unwrap();
        let why = problem(&StateDir::open(&theirs.join("state")).unwrap());
        assert!(why.ends_with(&format!(": link is a symbolic link of uid {owner}")), "{why}");
        fs::remove_file(&theirs).unwrap();
    }
    assert!(!target.join("state").exists());

    // A directory of another user is refused too.
    fs::create_dir(path.join("roots")).unwrap();
    let why = problem(&StateDir::open(&path.join("roots")).unwrap());
    assert!(why.ends_with(&format!(": roots belongs to uid 0 in a directory of uid {MALLORY}")), "{why}");
    // What we make in there is theirs.
    drop(StateDir::open(&path.join("new/er")).unwrap());
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(path.join("new/er")).unwrap()), MALLORY);
}
