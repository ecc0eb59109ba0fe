//! Results of probes.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// The outcome of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// Success or failure.
    pub verdict: ProbeResult,
    /// The attempt and its result: `connect 10.0.2.12:8080: connection refused`.
    pub detail: String,
    /// Duration of the attempt.
    pub took: Duration,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The backend responds as expected.
    Success,
    /// It does not, or not in time.
    Failure,
    /// The probe could not run, for a reason on this host. The health of the backend does not change.
    Skipped,
}

/// Why a probe did not succeed.
#[derive(Debug)]
pub(crate) enum ProbeError {
    /// The backend or the network failed.
    Remote(String),
    /// This host failed.
    Local(String),
}

/// Adds the operation to an error.
pub(crate) trait Context<T> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T, ProbeError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: impl FnOnce() -> String) -> Result<T, ProbeError> {
        self.map_err(|error| {
            let text = format!("{}: {}", operation(), reason(&error));
            match error.raw_os_error().map(Errno::from_raw) {
                // Descriptors, memory, ports and permissions of this host.
                Some(
                    Errno::EMFILE
                    | Errno::ENFILE
                    | Errno::ENOBUFS
                    | Errno::ENOMEM
                    | Errno::EADDRNOTAVAIL
                    | Errno::EPERM
                    | Errno::EAGAIN,
                ) => ProbeError::Local(text),
                _ => ProbeError::Remote(text),
            }
        })
    }
}

/// The description of a system error, without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
