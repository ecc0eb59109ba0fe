//! What comes of one attempt.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// One attempt's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it says of the backend.
    pub verdict: Verdict,
    /// What was tried and what came of it: `connect 10.0.2.12:8080: connection refused`.
    pub detail: String,
    /// From beginning to end.
    pub took: Duration,
}

/// What an attempt says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers as it should.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the attempt could not be made, for want of something on this machine.
    NotMade,
}

/// Why an attempt does not succeed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// By the backend, or the way there.
    There(String),
    /// By ourselves.
    Here(String),
}

/// Marks an error with what was tried.
pub(crate) trait While<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, Failed>;
}

impl<T> While<T> for io::Result<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, Failed> {
        self.map_err(|error| {
            let text = format!("{}: {}", operation(), reason(&error));
            match error.raw_os_error().map(Errno::from_raw) {
                // Descriptors, memory, ports, rights: none of them the backend's.
                Some(
                    Errno::EMFILE
                    | Errno::ENFILE
                    | Errno::ENOBUFS
                    | Errno::ENOMEM
                    | Errno::EADDRNOTAVAIL
                    | Errno::EPERM
                    | Errno::EAGAIN,
                ) => Failed::Here(text),
                _ => Failed::There(text),
            }
        })
    }
}

/// An error of the system in its own words, without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
