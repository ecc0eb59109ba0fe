//! [`Files`]: reads files of the state directory and replaces them atomically.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::fcntl::OFlag;

use super::directory::Directory;
use crate::fatal::chain;

/// Name of the lock file, which is locked with flock(2) as long as a daemon or a command uses the directory.
const LOCK: &str = "sluiced.lock";

/// Maximum size of a file in bytes.
const LIMIT: u64 = 64 << 20;

/// A file of the state directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// An error of the system, or a refused file.
    #[error("{0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
    /// Another daemon uses the directory.
    #[error("another sluiced{owner} uses the state directory {path}", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (pid 123)`, or empty if the pid is not known.
        owner: String,
    },
    /// The lock was released.
    #[error("the state directory {} is no longer ours", .0.display())]
    Ended(PathBuf),
}

/// Whether a file must survive a crash of the machine, or only one of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// The files of a state directory; clones share them. They can be written while the lock is held.
#[derive(Clone, Debug)]
pub struct Files {
    path: Arc<Path>,
    lock: Weak<Lock>,
}

/// The lock on a state directory, and the files that could not be written.
#[derive(Debug)]
pub(super) struct Lock {
    path: Arc<Path>,
    held: Mutex<Option<File>>,
    /// The errors of writing, by file.
    problems: Mutex<BTreeMap<String, String>>,
}

impl Files {
    /// The text of a file, with invalid UTF-8 replaced; `None` if it does not exist.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<String>> {
        let read = || -> io::Result<String> {
            let mut bytes = vec![];
            let file = Directory::open(&self.path, false)?.file(name, OFlag::O_RDONLY)?;
            file.take(LIMIT).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file atomically: a crash leaves the old or the new one.
    pub(crate) fn replace(&self, name: &str, contents: &[u8], durable: Durable) -> Result<(), FileError> {
        self.write(name, |directory| {
            let new = format!("{name}.new");
            let written = directory.create(&new).and_then(|mut file| {
                file.write_all(contents)?;
                if durable == Durable::Yes {
                    file.sync_all()?;
                }
                directory.rename(&new, name)
            });
            match (&written, durable) {
                // An incomplete file must not use up space.
                (Err(_), _) => drop(directory.remove(&new)),
                (Ok(()), Durable::Yes) => directory.sync()?,
                (Ok(()), Durable::No) => {}
            }
            written
        })
    }

    /// Appends to an existing file.
    pub(crate) fn append(&self, name: &str, contents: &[u8]) -> Result<(), FileError> {
        self.write(name, |directory| {
            directory.file(name, OFlag::O_WRONLY | OFlag::O_APPEND)?.write_all(contents)
        })
    }

    /// Clears the error of a file that has the right content without being written.
    pub(crate) fn clear_problem(&self, name: &str) {
        if let Some(lock) = self.lock.upgrade() {
            lock.note(name, &Ok(()));
        }
    }

    /// The path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, work: impl FnOnce(&Directory) -> io::Result<()>) -> Result<(), FileError> {
        let lock = self.lock.upgrade().ok_or_else(|| FileError::Ended(self.path.to_path_buf()))?;
        let written = lock.ensure().and_then(|()| {
            let written = Directory::open(&self.path, false).and_then(|directory| work(&directory));
            written.map_err(|error| FileError::Io("write", self.path.join(name), error))
        });
        lock.note(name, &written);
        written
    }
}

impl Lock {
    pub(super) fn new(path: &Path) -> (Arc<Self>, Files) {
        let path: Arc<Path> = path.into();
        let lock = Lock { path: path.clone(), held: Mutex::default(), problems: Mutex::default() };
        let lock = Arc::new(lock);
        let files = Files { path, lock: Arc::downgrade(&lock) };
        (lock, files)
    }

    /// Takes the lock if it is not held, because the cause of the failure may be gone.
    pub(super) fn ensure(&self) -> Result<(), FileError> {
        let mut held = locked(&self.held);
        if held.is_none() {
            let taken = self.take();
            self.note(LOCK, &taken);
            *held = Some(taken?);
        }
        Ok(())
    }

    /// The errors of writing, by name of the file.
    pub(super) fn problems(&self) -> Vec<String> {
        locked(&self.problems).values().cloned().collect()
    }

    fn take(&self) -> Result<File, FileError> {
        let path = self.path.join(LOCK);
        let failed = |error| FileError::Io("lock", path.clone(), error);
        let directory = Directory::open(&self.path, true)
            .map_err(|error| FileError::Io("open the state directory", self.path.to_path_buf(), error))?;
        let mut file = match directory.file(LOCK, OFlag::O_RDWR | OFlag::O_CREAT) {
            // A read-only file can be locked.
            Err(error) if is_read_only(&error) => {
                directory.file(LOCK, OFlag::O_RDONLY).map_err(|_| failed(error))
            }
            file => file.map_err(failed),
        }?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = (&file).take(32).read_to_string(&mut owner);
                let owner = owner.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (pid {pid})"));
                return Err(FileError::InUse { path: self.path.to_path_buf(), owner });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The pid is only for the error message of a second daemon.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(file)
    }

    fn note<T>(&self, name: &str, result: &Result<T, FileError>) {
        let mut problems = locked(&self.problems);
        match result {
            Ok(_) => drop(problems.remove(name)),
            Err(error) => drop(problems.insert(name.to_owned(), chain(error))),
        }
    }
}

fn is_read_only(error: &io::Error) -> bool {
    [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
