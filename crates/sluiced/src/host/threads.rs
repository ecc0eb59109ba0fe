//! Starts threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::thread::{Builder, JoinHandle};

use tracing::error;

/// Starts a named thread for the life of the daemon.
///
/// A panic in it aborts the process. The service manager starts the next daemon, which adopts the ruleset. Otherwise the
/// daemon would continue without the thread, and nothing would show that.
///
/// # Errors
/// If the system cannot start a thread.
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
