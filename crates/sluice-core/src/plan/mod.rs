//! A plan: the ordered difference between what the kernel holds and what it should hold.

mod committed;
mod diff;
mod report;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use committed::Proposal;
pub use diff::diff;
pub use report::report;
use sluice_nft::{Data, Key, Step};

use crate::model::ServiceName;

/// Steps to make the kernel equal to what is desired, make before break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one of each purpose, in that order. None is empty. After each but the last, wait for [`Purpose::settle`].
    pub batches: Vec<Batch>,
}

/// Steps that take effect at once, in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the batch is for.
    pub purpose: Purpose,
    /// Its steps in order.
    pub changes: Vec<Change>,
}

/// What a batch is for. A commit is atomic for each lookup, not for each packet: a packet that read
/// the old state may meet the new one at its next lookup. So no batch takes away what the state
/// before it leads to, and none leads to a chain that a packet under way would still find empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Adds new chains that an existing listener will move to; only then a batch of its own, because
    /// a packet keeps to the rules of the generation it began with.
    Prepare,
    /// Adds what else is new and switches to it.
    Switch,
    /// Removes what nothing leads to any more.
    Retire,
}

impl Purpose {
    /// How long to wait after this batch, so that no packet is under way that read the state before it.
    pub fn settle(self) -> Duration {
        match self {
            // Nothing leads to what was added: only packets inside one hook matter.
            Purpose::Prepare => Duration::from_millis(2),
            // Packets between two hooks, or held for a moment by a queue.
            Purpose::Switch | Purpose::Retire => Duration::from_millis(100),
        }
    }

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Prepare => "prepare",
            Purpose::Switch => "switch",
            Purpose::Retire => "retire",
        }
    }
}

impl Batch {
    /// The steps without their reasons.
    pub fn steps(&self) -> Vec<Step> {
        self.changes.iter().map(|change| change.step.clone()).collect()
    }
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
    /// It is a range that nothing needs and that overlaps one to be added, which the kernel would refuse beside it.
    Overlaps,
    /// It has another declaration, which cannot be changed; or the whole table is not as it should be. Says what and how.
    Incompatible(String),
    /// It is there, nothing needs it, and sluice never writes what it holds or is: this.
    Unreadable(String),
}

impl Plan {
    /// Whether the kernel is as it should be.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// All changes in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.batches.iter().flat_map(|batch| &batch.changes)
    }

    /// What is not only different but of another layout, or none that sluice can read; each once, for a log.
    pub fn findings(&self) -> BTreeSet<String> {
        let reasons = self.changes().map(|change| &change.reason);
        let found = reasons.filter(|reason| matches!(reason.why, Why::Incompatible(_) | Why::Unreadable(_)));
        found.map(ToString::to_string).collect()
    }

    /// Numbers for a one-line report.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for change in self.changes() {
            match (&change.step, &change.reason.why) {
                // What differs is deleted and added again, and is counted once.
                (Step::DeleteElements(..) | Step::FlushChain(_), Why::Differs(_)) => {}
                (Step::AddElements(_, elements), Why::Differs(_)) => summary.changed += elements.len(),
                (_, Why::Differs(_)) => summary.changed += 1,
                (Step::AddElements(_, elements), _) => summary.added += elements.len(),
                (Step::DeleteElements(_, elements), _) => summary.removed += elements.len(),
                (Step::FlushChain(_), _) => {}
                (
                    Step::DeleteTable | Step::DeleteSet(_) | Step::DeleteChain(_) | Step::DeleteObject(_),
                    _,
                ) => summary.removed += 1,
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
