//! Files of the state directory: how they are read, and replaced in one step.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::fcntl::OFlag;

use super::directory::Directory;
use crate::fatal::chain;

/// Locked with flock(2) as long as a daemon or a command uses the directory.
const LOCK: &str = "sluiced.lock";

/// Most bytes of a file that are read.
const LIMIT: u64 = 64 << 20;

/// A file of the state directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system, or we, refused.
    #[error("{0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
    /// Another daemon uses the directory.
    #[error("another sluiced{owner} uses the state directory {path}", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (pid 123)`, or nothing when it has not said yet.
        owner: String,
    },
    /// The one that had it has stopped using it.
    #[error("the state directory {} is no longer ours", .0.display())]
    Ended(PathBuf),
}

/// Whether a file outlives a crash of the machine, and not only one of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// The files of a state directory; clones are the same. They can be written as long as its lock lives.
#[derive(Clone, Debug)]
pub struct Files {
    path: Arc<Path>,
    lock: Weak<Lock>,
}

/// The lock on a state directory, and what could not be written there.
#[derive(Debug)]
pub(super) struct Lock {
    path: Arc<Path>,
    held: Mutex<Option<File>>,
    /// By file: why it is not as it should be.
    problems: Mutex<BTreeMap<String, String>>,
}

impl Files {
    /// The text of a file, in which bytes that are no UTF-8 are replaced; `None`: there is none.
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

    /// Replaces a file in one step, so that a crash leaves the old or the new one.
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
                // What there is of it takes the room that there is not.
                (Err(_), _) => drop(directory.remove(&new)),
                (Ok(()), Durable::Yes) => directory.sync()?,
                (Ok(()), Durable::No) => {}
            }
            written
        })
    }

    /// Writes at the end of a file that is there.
    pub(crate) fn append(&self, name: &str, contents: &[u8]) -> Result<(), FileError> {
        self.write(name, |directory| {
            directory.file(name, OFlag::O_WRONLY | OFlag::O_APPEND)?.write_all(contents)
        })
    }

    /// Notes that a file holds what it should although it was not written.
    pub(crate) fn settled(&self, name: &str) {
        if let Some(lock) = self.lock.upgrade() {
            lock.note(name, &Ok(()));
        }
    }

    /// Where a file is, for messages.
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

    /// Takes the lock if it is not held: what was missing may be there meanwhile.
    pub(super) fn ensure(&self) -> Result<(), FileError> {
        let mut held = locked(&self.held);
        if held.is_none() {
            let taken = self.take();
            self.note(LOCK, &taken);
            *held = Some(taken?);
        }
        Ok(())
    }

    /// Why files are not as they should be, by name.
    pub(super) fn problems(&self) -> Vec<String> {
        locked(&self.problems).values().cloned().collect()
    }

    fn take(&self) -> Result<File, FileError> {
        let path = self.path.join(LOCK);
        let failed = |error| FileError::Io("lock", path.clone(), error);
        let directory = Directory::open(&self.path, true)
            .map_err(|error| FileError::Io("open the state directory", self.path.to_path_buf(), error))?;
        let mut file = match directory.file(LOCK, OFlag::O_RDWR | OFlag::O_CREAT) {
            // It can be locked all the same.
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
        // Only for the message to the next one.
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
