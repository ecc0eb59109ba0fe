//! [`Outcome`]: the result of a successful round.

use std::fmt;
use std::time::Duration;

use sluice_api::pluralize;
use sluice_core::plan::Summary;

/// The result of a successful round; `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel was equal to the services already; nothing was committed.
    Unchanged,
    /// The kernel was changed and verified.
    Changed {
        /// Numbers of objects.
        summary: Summary,
        /// Number of steps of all commits.
        steps: usize,
        /// Time from the beginning of the round to the commit of the switch.
        committed: Duration,
        /// Time from the beginning of the round to the last commit.
        took: Duration,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Unchanged => f.write_str("nothing changed in the kernel"),
            Outcome::Changed { summary: Summary { added, changed, removed }, steps, committed, took } => {
                write!(f, "{added} added, {changed} changed, {removed} removed in the kernel ")?;
                let [committed, took] = [committed, took].map(|time| time.as_secs_f64() * 1e3);
                write!(
                    f,
                    "({}, switched after {committed:.1} ms, done after {took:.1} ms)",
                    pluralize(*steps, "step")
                )
            }
        }
    }
}
