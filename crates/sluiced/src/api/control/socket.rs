//! The socket file, with its owner and mode.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Group, geteuid};
use sluice_core::model::Control;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tracing::warn;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening control socket; the file is removed on drop.
#[derive(Debug)]
pub struct ControlSocket {
    file: SocketFile,
    listener: UnixListener,
}

/// Removes the file on drop.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

/// The control socket cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers on it.
    #[error("another sluiced (pid {0}) answers on {path}", path = .1.display())]
    Live(i32, PathBuf),
    /// A file of another kind exists.
    #[error("{} exists and is not a socket", .0.display())]
    NoSocket(PathBuf),
    /// An error of the system.
    #[error("{0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
}

impl SocketError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            SocketError::Live(..) => {
                "a network namespace can have one sluiced: use `sluice reload` to apply your file, or stop the other one; in another \
                 namespace, name another socket in control.socket"
            }
            SocketError::NoSocket(_) => "move it away, or name another path in control.socket",
            SocketError::Io(..) => "check the path in control.socket and the rights to its directory",
        }
    }
}

impl ControlSocket {
    /// Listens on the configured path. Replaces a socket without a listening process, and no other
    /// file.
    pub fn bind(control: &Control) -> Result<Self, SocketError> {
        let path = &control.socket;
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |error| SocketError::Io(operation, path, error)
        };
        remove_stale(path)?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("create directory", directory))?;
        }
        let listener = listen(path).map_err(failed("listen on", path))?;
        let file = SocketFile(path.clone());
        // By descriptor: a user who can write to the directory could have replaced it with a link.
        let made = opened(path).map_err(failed("look at", path))?;
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", made.as_raw_fd()));
        let group =
            control.group.as_deref().is_some_and(|group| give_to_group((path, &by_descriptor), group));
        let mode = if group { 0o660 } else { 0o600 };
        fs::set_permissions(&by_descriptor, Permissions::from_mode(mode))
            .map_err(failed("change mode of", path))?;
        Ok(ControlSocket { file, listener })
    }

    /// The file guard and the listener.
    pub(crate) fn split(self) -> (SocketFile, UnixListener) {
        (self.file, self.listener)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            warn!("remove {}: {error}", self.0.display());
        }
    }
}

/// Listens with mode 0600. The file gets the mode that the socket has before `bind`, so that no other user can connect
/// in between; the umask would change the files of other threads, too.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |operation| move |error| SocketError::Io(operation, path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(other) => {
            let pid = getsockopt(&other, PeerCredentials).map_or(0, |credentials| credentials.pid());
            Err(SocketError::Live(pid, path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove stale socket"))
        }
        Err(error) => Err(failed("connect to")(error)),
    }
}

/// Opens the new socket itself.
fn opened(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits();
    // O_PATH ignores the access mode.
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() || metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other("another program replaced the file"));
    }
    Ok(file)
}

/// Gives a group access to the socket, if the group exists and we have permission.
fn give_to_group((path, made): (&Path, &Path), name: &str) -> bool {
    let given = match Group::from_name(name) {
        Ok(Some(group)) => chown(made, None, Some(group.gid.as_raw())).map_err(|error| error.to_string()),
        Ok(None) => Err("no such group".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    given
        .inspect_err(|error| {
            warn!("control.group {name}: {error} (only root may use {} until a restart)", path.display());
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(directory: &Path, group: Option<&str>) -> Control {
        Control { socket: directory.join("run/sluice.sock"), group: group.map(str::to_owned) }
    }

    #[tokio::test]
    async fn socket_with_a_group_is_for_owner_and_group() {
        let directory = tempfile::tempdir().unwrap();
        // The group of the test process, to which it may give files.
        let own = Group::from_gid(nix::unistd::getegid()).unwrap().unwrap();
        let control = control(directory.path(), Some(&own.name));
        let socket = ControlSocket::bind(&control).unwrap();
        let metadata = fs::metadata(&control.socket).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, own.gid.as_raw()));
        drop(socket);
        assert!(!control.socket.exists());
    }

    #[tokio::test]
    async fn socket_without_a_group_or_with_an_unknown_one_is_for_its_owner() {
        for group in [None, Some("no-such-group")] {
            let directory = tempfile::tempdir().unwrap();
            let control = control(directory.path(), group);
            let _socket = ControlSocket::bind(&control).unwrap();
            assert_eq!(fs::metadata(&control.socket).unwrap().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn socket_left_by_a_crash_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let control = control(directory.path(), None);
        fs::create_dir(control.socket.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&control.socket).unwrap());
        let _socket = ControlSocket::bind(&control).unwrap();
        UnixStream::connect(&control.socket).unwrap();
    }

    #[tokio::test]
    async fn socket_that_is_live_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let control = control(directory.path(), None);
        let _socket = ControlSocket::bind(&control).unwrap();
        let error = ControlSocket::bind(&control).unwrap_err();
        let (pid, path) = (std::process::id(), control.socket.display());
        assert_eq!(error.to_string(), format!("another sluiced (pid {pid}) answers on {path}"));
        UnixStream::connect(&control.socket).unwrap();
    }

    #[tokio::test]
    async fn file_in_place_of_the_socket_is_refused_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let control = Control { socket: directory.path().join("precious"), group: None };
        fs::write(&control.socket, "data").unwrap();
        let error = ControlSocket::bind(&control).unwrap_err();
        assert!(matches!(error, SocketError::NoSocket(_)), "{error:?}");
        assert_eq!(fs::read_to_string(&control.socket).unwrap(), "data");
    }

    #[test]
    fn link_or_file_in_place_of_a_socket_just_made_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, socket] = ["file", "link", "socket"].map(|name| directory.path().join(name));
        fs::write(&file, "data").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        opened(&file).unwrap_err();
        opened(&link).unwrap_err();
        opened(&socket).unwrap();
    }

    #[tokio::test]
    async fn socket_path_that_is_too_long_is_an_error_with_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let control = Control { socket: directory.path().join("x".repeat(120)), group: None };
        let error = ControlSocket::bind(&control).unwrap_err().to_string();
        assert_eq!(error, format!("listen on {}", control.socket.display()));
    }
}
