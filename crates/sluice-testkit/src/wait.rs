//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Timeout of a condition: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `answer` until it returns `Some`, and returns the value.
///
/// # Panics
/// After [`PATIENCE`], with `what`.
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
