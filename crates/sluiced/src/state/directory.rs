//! [`Directory`]: safe access to a directory that another user may be able to write to.
//!
//! Root follows no symbolic link of an unprivileged user, and does every operation in a directory of such a
//! user with that user's file system rights (setfsuid(2), which is per thread). So root cannot be led to files that the
//! owner cannot access, and files that root creates belong to the owner. docs/adr/0023 has the reasons.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fsync, geteuid, setfsgid, setfsuid, unlinkat};

/// Maximum number of symbolic links in a path, as in the kernel (path_resolution(7)).
const LINKS: u32 = 40;

/// Id of users and groups without a mapping in this user namespace (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

/// A directory, and its owner.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    owner: Uid,
    group: Gid,
}

impl Directory {
    /// Opens a directory. `create`: creates it and its parents if they are missing.
    ///
    /// # Errors
    /// Also if a user other than root and the current one could replace a component of the path, and, unless the current
    /// user is root, if the directory belongs to another user.
    pub(super) fn open(path: &Path, create: bool) -> io::Result<Self> {
        let mut here = Directory::at(if path.is_absolute() { "/" } else { "." })?;
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut links = LINKS;
        while let Some(name) = rest.pop_front() {
            let next = match here.look(&name) {
                Err(Errno::ENOENT) if create => {
                    here.as_owner(|| match mkdirat(&here.fd, &*name, Mode::from_bits_truncate(0o755)) {
                        Ok(()) | Err(Errno::EEXIST) => Ok(()),
                        Err(error) => Err(error.into()),
                    })?;
                    here.look(&name)
                }
                found => found,
            }?;
            let stat = fstat(&next)?;
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFLNK => {
                    links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                    if !is_trusted(Uid::from_raw(stat.st_uid)) || !is_trusted(here.owner) {
                        return Err(refused(format!(
                            "{} is a symbolic link of uid {}",
                            show(&name),
                            stat.st_uid
                        )));
                    }
                    let target = readlinkat(&next, "")?;
                    let target = Path::new(&target);
                    if target.is_absolute() {
                        here = Directory::at("/")?;
                    }
                    parts(target).rev().for_each(|part| rest.push_front(part));
                }
                SFlag::S_IFDIR => {
                    let next = Directory::of(next, &stat);
                    // The owner of `here` could have moved a directory of another user there.
                    if !is_trusted(here.owner) && next.owner != here.owner {
                        return Err(refused(format!(
                            "{} belongs to uid {} in a directory of uid {}",
                            show(&name),
                            next.owner,
                            here.owner
                        )));
                    }
                    here = next;
                }
                _ => return Err(Errno::ENOTDIR.into()),
            }
        }
        if !geteuid().is_root() && !is_trusted(here.owner) {
            return Err(refused(format!("it belongs to uid {}", here.owner)));
        }
        Ok(here)
    }

    /// Opens an existing file that only the owner of the directory, root or the current user can have created.
    pub(super) fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        // A fifo must not block, and a terminal must not become our controlling terminal.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = self.as_owner(|| Ok(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))?));
        let file = File::from(opened.map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ELOOP) => refused("it is a symbolic link".to_owned()),
            _ => error,
        })?);
        let metadata = file.metadata()?;
        let owner = Uid::from_raw(metadata.uid());
        match () {
            () if !metadata.is_file() => Err(refused("it is no regular file".to_owned())),
            () if metadata.nlink() > 1 => Err(refused("it has several hard links".to_owned())),
            () if owner != self.owner && !is_trusted(owner) => {
                Err(refused(format!("it belongs to uid {owner}")))
            }
            () => Ok(file),
        }
    }

    /// Creates a file, which must not exist.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        self.file(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.as_owner(|| match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    /// Renames a file in this directory, replacing an existing one.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.as_owner(|| Ok(renameat(&self.fd, from, &self.fd, to)?))
    }

    /// Syncs the names of files, so that they survive a crash of the machine.
    pub(super) fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        self.as_owner(|| Ok(fsync(openat(&self.fd, ".", flags, Mode::empty())?)?))
    }

    fn at(path: &str) -> io::Result<Self> {
        let fd =
            openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Directory::of(fd, &stat))
    }

    fn of(fd: OwnedFd, stat: &FileStat) -> Self {
        Directory { fd, owner: Uid::from_raw(stat.st_uid), group: Gid::from_raw(stat.st_gid) }
    }

    /// Opens the object with this name itself, without following links (`O_PATH`).
    fn look(&self, name: &OsStr) -> nix::Result<OwnedFd> {
        openat(&self.fd, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// Runs an operation with the owner's file system rights, if the current user is root and the owner another user.
    fn as_owner<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _acting = match geteuid().is_root() && !is_trusted(self.owner) {
            true => Some(ActingAs::new(self.owner, self.group)?),
            false => None,
        };
        work()
    }
}

/// Gives the calling thread another user's file system rights until it is dropped; it must not leave the thread.
struct ActingAs {
    before: (Uid, Gid),
    _stay: PhantomData<*const ()>,
}

impl ActingAs {
    fn new(user: Uid, group: Gid) -> io::Result<Self> {
        // The group first, because it requires the capability that the next call drops.
        let (group_before, user_before) = (setfsgid(group), setfsuid(user));
        let acting = ActingAs { before: (user_before, group_before), _stay: PhantomData };
        // Neither call reports failure; a call with an invalid id only returns the current one.
        let nobody = (Uid::from_raw(u32::MAX), Gid::from_raw(u32::MAX));
        if (setfsuid(nobody.0), setfsgid(nobody.1)) != (user, group) {
            return Err(refused(format!("it belongs to uid {user}, and we may not act as they")));
        }
        Ok(acting)
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        setfsuid(self.before.0);
        setfsgid(self.before.1);
    }
}

/// Whether a user has at least our privileges, or is the current user.
fn is_trusted(user: Uid) -> bool {
    // The owner of a user namespace's parent has no id in it.
    user.is_root() || user == geteuid() || (user.as_raw() == OVERFLOW && !is_mapped(OVERFLOW))
}

/// Whether a user id is mapped in this user namespace.
fn is_mapped(id: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, _, length) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(first..first + length)
    });
    map.is_empty() || ranges.any(|range| range.contains(&u64::from(id)))
}

/// The components of a path, without `.` and empty ones.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + use<'_> {
    path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn show(name: &OsStr) -> String {
    Path::new(name).display().to_string()
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
