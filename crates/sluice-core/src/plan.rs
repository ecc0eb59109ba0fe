//! A plan: the ordered difference between what the kernel holds and what it should hold.

use std::fmt;
use std::time::Duration;

use sluice_nft::{Data, Key, Step};

use crate::model::ServiceName;

/// How long to wait between the two batches of a plan.
///
/// A commit is atomic for each lookup, not for each packet: a packet that read the old state at one
/// hook may meet the new one at the next. Packets do not linger between hooks for this long.
pub const RETIRE_AFTER: Duration = Duration::from_millis(100);

/// Steps to make the kernel equal to what is desired, make before break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// First batch: adds what is new and switches to it. This is the commit that takes effect.
    pub make: Vec<Change>,
    /// Second batch, [`RETIRE_AFTER`] later: removes what nothing leads to any more.
    pub retire: Vec<Change>,
}

/// One step and why it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What to do.
    pub step: Step,
    /// Why.
    pub reason: Reason,
}

/// Why a step is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The service it serves, when it serves only one.
    pub service: Option<ServiceName>,
    /// What was found.
    pub why: Why,
}

/// What was found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The object is not there.
    Missing,
    /// It is there and differs; elements with what they held.
    Differs(Option<Vec<(Key, Data)>>),
    /// It is there and nothing needs it.
    Unneeded,
    /// A set or base chain was declared otherwise, which cannot be changed in place.
    Incompatible(String),
}

impl Plan {
    /// Whether the kernel is as it should be.
    pub fn is_empty(&self) -> bool {
        self.make.is_empty() && self.retire.is_empty()
    }

    /// Steps of the first and second batch.
    pub fn batches(&self) -> [Vec<Step>; 2] {
        [&self.make, &self.retire].map(|batch| batch.iter().map(|change| change.step.clone()).collect())
    }

    /// Numbers for a one-line report.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for change in self.make.iter().chain(&self.retire) {
            match (&change.step, &change.reason.why) {
                // What differs is deleted and added again, and is counted once.
                (Step::DeleteElements(..) | Step::FlushChain(_), Why::Differs(_)) => {}
                (Step::AddElements(_, elements), Why::Differs(_)) => summary.changed += elements.len(),
                (_, Why::Differs(_)) => summary.changed += 1,
                (Step::AddElements(_, elements), _) => summary.added += elements.len(),
                (Step::DeleteElements(_, elements), _) => summary.removed += elements.len(),
                (Step::FlushChain(_), _) => {}
                (Step::DeleteTable | Step::DeleteSet(_) | Step::DeleteChain(_), _) => summary.removed += 1,
                (Step::AddTable | Step::AddSet(..) | Step::AddChain(..) | Step::AddRule(..), _) => {
                    summary.added += 1;
                }
            }
        }
        summary
    }
}

/// How many objects (tables, sets, chains, rules, elements) a plan touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// New.
    pub added: usize,
    /// Replaced by something else of the same name or key.
    pub changed: usize,
    /// Gone.
    pub removed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to add, {} to change, {} to remove", self.added, self.changed, self.removed)
    }
}
