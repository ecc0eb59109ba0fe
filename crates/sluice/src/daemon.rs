//! Requests to the daemon, and the exclusive lock of commands that work without it.

use std::io;
use std::path::{Path, PathBuf};

use sluice_api::{Client, ClientError};
use sluiced::fatal::{Exit, Fatal};
use sluiced::reconcile::namespace_lock::NamespaceLock;
use sluiced::state::StateDir;
use tokio::net::UnixStream;

use crate::progress::Progress;

/// Sends one request of `command` to the daemon on `socket` and waits for the response.
pub(crate) fn ask<T>(
    command: &str,
    socket: &Path,
    request: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
) -> Result<T, Fatal> {
    try_ask(command, socket, request)?.map_err(no_answer)
}

/// The same, with the error as it is.
pub(crate) fn try_ask<T>(
    command: &str,
    socket: &Path,
    request: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
) -> Result<Result<T, ClientError>, Fatal> {
    let _progress = Progress::of(&format!("{command}: waiting for sluiced"));
    run(request(&Client::new(socket)))
}

/// The same; `None` if there is no daemon.
pub(crate) fn ask_if_running<T>(
    command: &str,
    socket: &Path,
    request: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
) -> Result<Option<T>, Fatal> {
    match try_ask(command, socket, request)? {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::NotRunning(..)) => Ok(None),
        Err(error) => Err(no_answer(error)),
    }
}

/// The error of a request, with its hint.
pub(crate) fn no_answer(error: ClientError) -> Fatal {
    let hint = error.hint().to_owned();
    Fatal::new(Exit::Runtime, error, hint)
}

/// Runs a future to its end on this thread.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> Result<T, Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Fatal::new(Exit::Runtime, NoRuntime(error), "raise the limits of the process"))?;
    Ok(runtime.block_on(future))
}

/// Ensures that no daemon runs, and that none can start while the result lives. `hint` is for the error if one runs.
pub(crate) fn exclude(
    socket: &Path,
    state: &Path,
    hint: &'static str,
) -> Result<(StateDir, NamespaceLock), Fatal> {
    // Waits for nothing: the queue of a daemon that hangs may be full.
    let pid = |daemon: UnixStream| daemon.peer_cred().ok().and_then(|peer| peer.pid());
    match run(async { UnixStream::connect(socket).await.map(pid) })? {
        Ok(pid) => return Err(running(socket, pid, hint)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(running(socket, None, hint)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
        }
        Err(error) => {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Runtime,
            };
            let error = Unknown(socket.to_owned(), error);
            return Err(Fatal::new(exit, error, "run as root, or set --socket"));
        }
    }
    let state = StateDir::open(state).map_err(|error| Fatal::new(Exit::Runtime, error, hint))?;
    let namespace_lock = NamespaceLock::take()?;
    state.ensure_alone(namespace_lock.is_held())?;
    Ok((state, namespace_lock))
}

/// The error if a daemon runs. systemd starts a killed daemon again, unless it is stopped.
fn running(socket: &Path, pid: Option<i32>, hint: &str) -> Fatal {
    let pid = pid.filter(|pid| *pid > 0);
    let kill = pid.map(|pid| format!("; without systemd: kill -KILL {pid}")).unwrap_or_default();
    let hint =
        format!("{hint}; if it hangs: systemctl kill --signal=KILL sluiced && systemctl stop sluiced{kill}");
    let pid = pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    Fatal::new(Exit::Runtime, Running(socket.to_owned(), pid), hint)
}

#[derive(Debug, thiserror::Error)]
#[error("start the event loop")]
struct NoRuntime(#[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("sluiced is running (pid {pid}) and listens on {socket}", socket = .0.display(), pid = .1)]
struct Running(PathBuf, String);

#[derive(Debug, thiserror::Error)]
#[error("cannot tell whether sluiced runs: connect {}", .0.display())]
struct Unknown(PathBuf, #[source] io::Error);
