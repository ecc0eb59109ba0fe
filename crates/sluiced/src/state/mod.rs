//! The `state` directory: what must survive the daemon, and the lock that keeps a second one out.
//!
//! None of it is needed to serve. A directory that cannot be used, for want of room or of rights, is told of, and what
//! would be written there is lost at the end of the daemon.

pub(crate) mod backends;
mod changed;
mod directory;
mod files;
mod services;
pub mod sysctls;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

pub use self::changed::Changed;
pub(crate) use self::changed::{Recorded, State};
pub(crate) use self::files::Durable;
use self::files::Lock;
pub use self::files::{FileError, Files};
use crate::fatal::{Exit, Fatal, chain};

/// The `state` directory, locked for as long as this lives if that can be done.
#[derive(Debug)]
pub struct StateDir {
    lock: Arc<Lock>,
    files: Files,
    /// Why it is not locked.
    unlocked: Option<FileError>,
}

impl StateDir {
    /// Creates the directory if necessary and locks it.
    ///
    /// # Errors
    /// Only if another process has the lock. That it cannot be had for another reason is logged; see
    /// [`StateDir::ensure_alone`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (lock, files) = Lock::new(path);
        let unlocked = match lock.ensure() {
            Err(error @ FileError::InUse { .. }) => return Err(error),
            locked => locked.err(),
        };
        if let Some(error) = &unlocked {
            warn!("{} (nothing will be remembered over a restart until that is mended)", chain(error));
        }
        Ok(StateDir { lock, files, unlocked })
    }

    /// Makes sure that nobody else is at work: by the lock, or else because the claim to the table is held.
    pub fn ensure_alone(&self, has_claim: bool) -> Result<(), Fatal> {
        match &self.unlocked {
            Some(error) if !has_claim => {
                let error = format!("find out whether another sluiced runs: {}", chain(error));
                Err(Fatal::new(Exit::Runtime, error, "mend that, or name another directory in `state`"))
            }
            _ => Ok(()),
        }
    }

    /// Its files.
    pub fn files(&self) -> Files {
        self.files.clone()
    }

    /// Why what a restart needs is not all there; empty: it is.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock.problems()
    }
}
