//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a condition may take to come true: far longer than it should on a busy machine, so that it fails
/// only what never happens.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer and returns it.
///
/// # Panics
/// After [`PATIENCE`], naming `what` did not happen.
pub fn eventually<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match answer() {
            Some(answer) => return answer,
            None if Instant::now() > deadline => panic!("not within {PATIENCE:?}: {what}"),
            None => sleep(Duration::from_millis(5)),
        }
    }
}
