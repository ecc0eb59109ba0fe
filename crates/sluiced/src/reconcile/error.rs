//! What a round can fail at.

use nix::errno::Errno;
use sluice_api::pluralize;
use sluice_core::plan::Plan;
use sluice_core::report::report;
use sluice_nft::{CommitError, ReadError, Table};

/// Lines of differing objects that are kept.
const LINES: usize = 100;

/// A round failed.
#[derive(Debug)]
pub struct RoundError {
    /// At what.
    pub failure: Failure,
    /// Whether the kernel was switched to the services wanted all the same.
    pub made: bool,
}

/// What a round can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Reading the kernel.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Changing it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It belongs to somebody else.
    #[error("table {} is owned by another process ({})", Table::NAME, owner(*port))]
    Owned {
        /// Netlink port of the owner; mostly its process id.
        port: u32,
    },
    /// It was changed, and then was not what it should be.
    #[error("verify: table {} is not what was committed: {}", Table::NAME, pluralize(*count, "difference"))]
    Differs {
        /// How many steps would make it so.
        count: usize,
        /// These steps in nft syntax with `+`, `-` and `~`, one a line; of very many the first.
        lines: Vec<String>,
    },
}

impl<E: Into<Failure>> From<E> for RoundError {
    /// Nothing was changed yet.
    fn from(failure: E) -> Self {
        RoundError { failure: failure.into(), made: false }
    }
}

impl Failure {
    /// What is left to do after a commit that should have done it all.
    pub(super) fn differs(rest: &Plan) -> Self {
        let text = report(rest).to_string();
        let lines = text.lines().filter(|line| line.starts_with(['+', '-', '~']));
        Failure::Differs {
            count: rest.changes().count(),
            lines: lines.take(LINES).map(str::to_owned).collect(),
        }
    }

    /// Whether it looks as if somebody else changed the ruleset meanwhile, or as if the kernel was short of
    /// something for a moment: then reading and planning again helps.
    pub(super) fn is_stale(&self) -> bool {
        match (self, self.errno()) {
            (Failure::Differs { .. }, _) => true,
            (_, Some(Errno::EINTR | Errno::EBUSY | Errno::ENOBUFS)) => true,
            // What became of the batch is not known.
            (Failure::Commit(_), Some(Errno::ERESTART | Errno::ENOENT | Errno::EEXIST | Errno::EIO)) => true,
            _ => false,
        }
    }

    /// What the system said, if it was asked.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Failure::Read(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Commit(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Owned { .. } => Some(Errno::EPERM),
            Failure::Differs { .. } => None,
        }
    }
}

/// What can be said of the owner of a netlink port. The kernel gives the first socket of a process its id.
fn owner(port: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{port}/comm")) {
        Ok(name) => format!("{}, pid {port}", name.trim()),
        Err(_) => format!("netlink port {port}"),
    }
}
