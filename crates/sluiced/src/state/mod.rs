//! The `state` directory: state that must survive the daemon, and a lock that excludes a second daemon.
//!
//! None of it is needed for serving. If the directory cannot be used (no space, no permission), the daemon reports this, and
//! the state is lost when the daemon ends.

pub(crate) mod backends;
mod changed;
mod directory;
mod files;
mod record_queue;
mod services;
pub mod sysctls;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

pub use self::changed::ChangedSysctl;
pub(crate) use self::changed::{Recorded, SysctlRecord};
pub(crate) use self::files::Durable;
use self::files::Lock;
pub use self::files::{FileError, Files};
pub(crate) use self::record_queue::RecordWriter;
use crate::fatal::{Exit, Fatal, chain};

/// The `state` directory, locked as long as this lives, if possible.
#[derive(Debug)]
pub struct StateDir {
    lock: Arc<Lock>,
    files: Files,
    /// The error of locking.
    unlocked: Option<FileError>,
}

impl StateDir {
    /// Creates the directory if necessary and locks it.
    ///
    /// # Errors
    /// Only if another process holds the lock. Other errors are logged; see
    /// [`StateDir::ensure_alone`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (lock, files) = Lock::new(path);
        let unlocked = match lock.ensure() {
            Err(error @ FileError::InUse { .. }) => return Err(error),
            locked => locked.err(),
        };
        if let Some(error) = &unlocked {
            warn!("{} (until this is fixed, a restart loses all state)", chain(error));
        }
        Ok(StateDir { lock, files, unlocked })
    }

    /// Checks that no other process works on the table: by the lock, or otherwise by the lock of the network namespace.
    pub fn ensure_alone(&self, has_namespace_lock: bool) -> Result<(), Fatal> {
        match &self.unlocked {
            Some(error) if !has_namespace_lock => {
                let error = format!("find out whether another sluiced runs: {}", chain(error));
                Err(Fatal::new(Exit::Runtime, error, "fix this, or set another directory in `state`"))
            }
            _ => Ok(()),
        }
    }

    /// Its files.
    pub fn files(&self) -> Files {
        self.files.clone()
    }

    /// Errors of files that a restart needs; empty: all are written.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock.problems()
    }
}
