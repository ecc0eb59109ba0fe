//! [`RoundError`] and [`Failure`]: errors of a round.

use nix::errno::Errno;
use sluice_api::pluralize;
use sluice_core::plan::Plan;
use sluice_core::plan::report;
use sluice_nft::{CommitError, ReadError, Table};

/// Maximum number of lines of [`Failure::Differs`].
const LINES: usize = 100;

/// The error of a round.
#[derive(Debug)]
pub struct RoundError {
    /// The failed operation.
    pub failure: Failure,
    /// Whether the kernel was switched to the desired services before the failure.
    pub switched: bool,
}

/// A failed operation of a round.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit was rejected.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Another process owns the table.
    #[error("table {} is owned by another process ({})", Table::NAME, owner(*port))]
    Owned {
        /// Netlink port of the owner; usually its process id.
        port: u32,
    },
    /// After the commit, the table is not what was committed.
    #[error("verify: table {} is not what was committed: {}", Table::NAME, pluralize(*count, "difference"))]
    Differs {
        /// Number of steps that would correct it.
        count: usize,
        /// The first of these steps in nft syntax with `+`, `-` or `~`, one per line.
        lines: Vec<String>,
    },
}

impl<E: Into<Failure>> From<E> for RoundError {
    /// A failure before the first commit.
    fn from(failure: E) -> Self {
        RoundError { failure: failure.into(), switched: false }
    }
}

impl Failure {
    /// The table differs from what was committed by the steps of `rest`.
    pub(super) fn differs(rest: &Plan) -> Self {
        let text = report(rest).to_string();
        let lines = text.lines().filter(|line| line.starts_with(['+', '-', '~']));
        Failure::Differs {
            count: rest.changes().count(),
            lines: lines.take(LINES).map(str::to_owned).collect(),
        }
    }

    /// Whether an attempt with a fresh snapshot may succeed: another program changed the ruleset meanwhile, or the kernel
    /// had a temporary shortage.
    pub(super) fn is_stale(&self) -> bool {
        match (self, self.errno()) {
            (Failure::Differs { .. }, _) => true,
            (_, Some(Errno::EINTR | Errno::EBUSY | Errno::ENOBUFS)) => true,
            // With some of these errors, it is not known whether the kernel applied the batch.
            (Failure::Commit(_), Some(Errno::ERESTART | Errno::ENOENT | Errno::EEXIST | Errno::EIO)) => true,
            (Failure::Read(_) | Failure::Commit(_) | Failure::Owned { .. }, _) => false,
        }
    }

    /// The error of the system, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Failure::Read(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Commit(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Owned { .. } => Some(Errno::EPERM),
            Failure::Differs { .. } => None,
        }
    }
}

/// Name and process id of the owner of a netlink port: the port of the first socket of a process is its process id.
fn owner(port: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{port}/comm")) {
        Ok(name) => format!("{}, pid {port}", name.trim()),
        Err(_) => format!("netlink port {port}"),
    }
}
