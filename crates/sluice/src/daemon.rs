//! Asking the daemon, and doing its work where there is none.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sluice_api::{Client, ClientError};
use sluiced::fatal::{Exit, Fatal};
use sluiced::state::{StateDir, StateError};

use crate::progress::Progress;

/// Waits for the answer to one request of `command` to the daemon on `socket`.
pub(crate) fn ask<T>(
    command: &str,
    socket: &Path,
    request: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
) -> Result<T, Fatal> {
    let _progress = Progress::of(&format!("{command}: waiting for sluiced"));
    run(request(&Client::new(socket)))?.map_err(no_answer)
}

/// The same; `None` if there is no daemon.
pub(crate) fn ask_if_running<T>(
    command: &str,
    socket: &Path,
    request: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
) -> Result<Option<T>, Fatal> {
    let _progress = Progress::of(&format!("{command}: waiting for sluiced"));
    match run(request(&Client::new(socket)))? {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::NotRunning(..)) => Ok(None),
        Err(error) => Err(no_answer(error)),
    }
}

/// What went wrong with a request, and what to do about it.
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

/// Makes sure that no daemon runs, and that none can start as long as the returned lock lives. `hint` is
/// what to do if one does.
pub(crate) fn exclude(socket: &Path, state: &Path, hint: &'static str) -> Result<StateDir, Fatal> {
    match UnixStream::connect(socket) {
        Ok(_) => return Err(Fatal::new(Exit::Runtime, Running(socket.to_owned()), hint)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
        }
        Err(error) => {
            let error = Unknown(socket.to_owned(), error);
            return Err(Fatal::new(Exit::Runtime, error, "be root, or name the socket with --socket"));
        }
    }
    StateDir::open(state).map_err(|error| match &error {
        StateError::InUse { .. } => Fatal::new(Exit::Runtime, error, hint),
        StateError::Io(_, _, cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            Fatal::new(Exit::Permission, error, "be root")
        }
        StateError::Io(..) => {
            let hint = error.hint();
            Fatal::new(Exit::Runtime, error, hint)
        }
    })
}

#[derive(Debug, thiserror::Error)]
#[error("start the event loop")]
struct NoRuntime(#[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("sluiced runs: it answers on {}", .0.display())]
struct Running(PathBuf);

#[derive(Debug, thiserror::Error)]
#[error("find out whether sluiced runs: connect {}", .0.display())]
struct Unknown(PathBuf, #[source] io::Error);
