//! Starts threads: some with the priority of the process, and some that yield to it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, scope};

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tracing::{debug, error};

use crate::host::processors::{self, Aside};

/// The nice value of threads that yield: they get a quarter of the processor time of a thread with the usual one, and a
/// thread that wakes up does not wait for them.
const YIELDING: i32 = 6;

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
        processors::use_all();
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            error!("thread {name} panicked: aborting");
            abort()
        })
    })
}

/// Starts a named thread for the life of the daemon, which yields to probes and to the reconcile task: it reads or computes much.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_yielding<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    start(name, move || {
        yield_to_others();
        run()
    })
}

/// Computes something on a thread that yields to probes and to the reconcile task, and waits for it; without a thread, on the
/// caller's.
pub(crate) fn run_yielding<T: Send>(name: &str, run: impl FnOnce() -> T + Send) -> T {
    // A thread that cannot be started does not return what it was to run.
    let run = Mutex::new(Some(run));
    let run = || {
        let run = run.lock().unwrap_or_else(PoisonError::into_inner).take();
        run.map_or_else(|| unreachable!("it runs once"), |run| run())
    };
    scope(|scope| {
        let yielding = || {
            let _aside = Aside::new();
            yield_to_others();
            run()
        };
        match Builder::new().name(name.to_owned()).spawn_scoped(scope, yielding) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => run(),
        }
    })
}

/// Lowers the priority of the calling thread.
fn yield_to_others() {
    if let Err(error) = setpriority_process(Some(gettid()), YIELDING) {
        debug!("lower the priority of a thread: {error} (permit setpriority(2))");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn thread_that_yields_has_a_lower_priority_and_its_caller_keeps_its_own() {
        let priority = || getpriority_process(Some(gettid())).unwrap();
        let own = priority();
        assert_eq!(run_yielding("test", priority), own.max(YIELDING));
        assert_eq!(start_yielding("test", priority).unwrap().join().unwrap(), own.max(YIELDING));
        assert_eq!((start("test", priority).unwrap().join().unwrap(), priority()), (own, own));
    }
}
