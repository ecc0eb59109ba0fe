//! Threads of the daemon.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::thread::{Builder, JoinHandle};

use tracing::error;

/// Starts a named thread for the life of the daemon.
///
/// A panic in it ends the process. The service manager starts the next daemon, which adopts the ruleset; a daemon
/// that has lost a thread would go on without what the thread did, and nobody would notice.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let name = name.to_owned();
    Builder::new().name(name.clone()).spawn(move || {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            error!("thread {name} panicked: aborting");
            abort()
        })
    })
}
