//! What must survive the daemon, and the lock that keeps a second one out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::fatal::chain;

const VERSION: u32 = 1;

/// The `state` directory, locked for as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Locked with flock(2), which ends with the process, however that ends.
    _lock: File,
}

/// Contents of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The boot it speaks of; sysctls do not outlive it.
    boot: String,
    /// Sysctls that we changed, in that order.
    pub sysctls: Vec<Changed>,
}

/// A sysctl that we changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Which: `net/ipv4/ip_forward`.
    pub key: String,
    /// Its value before.
    pub was: String,
    /// The value we gave it.
    pub now: String,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be written to.
    #[error("{0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
    /// Another daemon uses it.
    #[error("another sluiced{owner} uses the state directory {path}", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (pid 123)`, or nothing when it has not said yet.
        owner: String,
    },
}

impl StateError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            StateError::Io(..) => "check the rights, or name another directory in `state`",
            StateError::InUse { .. } => {
                "stop it; in another network namespace, name another directory in `state`"
            }
        }
    }
}

impl State {
    /// The boot it speaks of.
    pub fn boot(&self) -> &str {
        &self.boot
    }
}

impl StateDir {
    /// Creates the directory if necessary and locks it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io(operation, path, error)
        };
        fs::create_dir_all(path).map_err(failed("create state directory", path))?;
        let lock_path = path.join("sluiced.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        let mut owner = String::new();
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Only for the message; an unreadable file names nobody.
                let _ = lock.read_to_string(&mut owner);
                let owner = owner.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (pid {pid})"));
                return Err(StateError::InUse { path: path.to_owned(), owner });
            }
            Err(TryLockError::Error(error)) => return Err(StateError::Io("lock", lock_path, error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed("write", &lock_path))?;
        Ok(StateDir { path: path.to_owned(), _lock: lock })
    }

    /// What an earlier daemon left during this `boot` of the machine. State must never prevent a start:
    /// what cannot be understood is logged and counts as nothing.
    pub fn load(&self, boot: &str) -> State {
        let nothing = State { version: VERSION, boot: boot.to_owned(), sysctls: vec![] };
        let file = self.file();
        let state = match fs::read(&file) {
            Ok(json) => serde_json::from_slice::<State>(&json).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing,
            Err(error) => Err(error.to_string()),
        };
        let ignored = match state {
            Ok(state) if state.version != VERSION => {
                format!("version {} of its format is not known", state.version)
            }
            Ok(state) if state.boot != boot => return nothing,
            Ok(state) => return state,
            Err(error) => error,
        };
        warn!("ignored {}: {ignored}", file.display());
        nothing
    }

    /// Replaces the state in one step, so that a crash leaves the old or the new one. A failure is
    /// logged: what is in force matters more than what would be remembered.
    pub fn save(&self, state: &State) {
        let (file, new) = (self.file(), self.path.join("state.json.new"));
        let json = serde_json::to_vec_pretty(state).expect("strings and numbers are valid JSON");
        let saved = File::create(&new)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &file));
        if let Err(error) = saved {
            warn!("write {}: {} (old sysctl values will not be put back)", file.display(), chain(&error));
        }
    }

    fn file(&self) -> PathBuf {
        self.path.join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sysctls: usize) -> State {
        let changed = Changed { key: "net/ipv4/ip_forward".into(), was: "0".into(), now: "1".into() };
        State { version: VERSION, boot: "b".into(), sysctls: vec![changed; sysctls] }
    }

    #[test]
    fn state_saved_is_loaded_by_the_next_daemon() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(dir.load("b"), state(0));
        dir.save(&state(1));
        drop(dir);
        assert_eq!(StateDir::open(&path).unwrap().load("b"), state(1));
        assert!(!path.join("state.json.new").exists());
    }

    #[test]
    fn state_that_is_corrupt_or_from_the_future_counts_as_none() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path()).unwrap();
        const FUTURE: &str = r#"{"version":2,"boot":"b","sysctls":[{"key":"x","was":"0","now":"1"}]}"#;
        for text in ["", "{", "\u{0}\u{0}", "[1]", FUTURE, r#"{"version":1}"#] {
            fs::write(dir.file(), text).unwrap();
            assert_eq!(dir.load("b"), state(0), "{text:?}");
        }
        dir.save(&state(1));
        assert_eq!(dir.load("b"), state(1));
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
    fn state_directory_that_is_a_file_is_an_error_with_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateDir::open(file.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("create state directory {}", file.path().display()));
    }
}
