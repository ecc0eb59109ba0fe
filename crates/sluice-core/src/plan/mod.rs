//! [`Plan`]: ordered steps from the current to the desired table, in batches.

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

/// Steps that make the current table equal to the desired one, make before break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one batch per purpose, in that order, without empty ones. After each but the last, wait for
    /// [`Purpose::settle`].
    pub batches: Vec<Batch>,
}

/// Steps of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its purpose.
    pub purpose: Purpose,
    /// Its steps in order.
    pub changes: Vec<Change>,
}

/// The purpose of a batch. A commit is atomic for each lookup, not for each packet: a packet that read the
/// old ruleset may read the new one in its next lookup. So no batch deletes an object that the ruleset before
/// it leads to, and no batch leads to a chain that a packet in transit would find empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Adds new chains for existing listeners. It is a separate batch because a packet keeps the rules of the
    /// generation in which it began.
    Prepare,
    /// Adds all other new objects and switches to them.
    Switch,
    /// Deletes obsolete objects.
    Retire,
}

impl Purpose {
    /// How long to wait at least after a batch: until no packet is on a processor that read the ruleset before it.
    pub const SETTLE: Duration = Duration::from_millis(2);

    /// How long to wait after this batch until no packet is in transit that read the ruleset before it.
    pub fn settle(self) -> Duration {
        match self {
            // No rule leads to the new objects yet, so only packets within one hook matter.
            Purpose::Prepare => Purpose::SETTLE,
            // Packets that are in a queue between two hooks, too.
            Purpose::Switch | Purpose::Retire => Duration::from_millis(100),
        }
    }

    /// The purpose as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Prepare => "prepare",
            Purpose::Switch => "switch",
            Purpose::Retire => "retire",
        }
    }
}

impl Batch {
    /// The steps without reasons.
    pub fn steps(&self) -> Vec<Step> {
        self.changes.iter().map(|change| change.step.clone()).collect()
    }
}

/// A step and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The step.
    pub step: Step,
    /// Its reason.
    pub reason: Reason,
}

/// The reason of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The service of the object, if it belongs to a single service.
    pub service: Option<ServiceName>,
    /// The difference.
    pub why: Why,
}

/// The difference between the current and the desired table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The object does not exist.
    Missing,
    /// The object differs; for elements, with their current data.
    Differs(Option<Vec<(Key, Data)>>),
    /// The object exists and is obsolete.
    Unneeded,
    /// The element is an obsolete interval that overlaps a new one, which the kernel would therefore refuse.
    Overlaps,
    /// The object, or the whole table, has another declaration, which cannot be changed; with a description.
    Incompatible(String),
    /// The object is obsolete, and sluice cannot read it or its contents; with a description.
    Unreadable(String),
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// All steps in order, with reasons.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.batches.iter().flat_map(|batch| &batch.changes)
    }

    /// Descriptions of incompatible and unreadable objects, without duplicates, for a log.
    pub fn findings(&self) -> BTreeSet<String> {
        let reasons = self.changes().map(|change| &change.reason);
        let found = reasons.filter(|reason| matches!(reason.why, Why::Incompatible(_) | Why::Unreadable(_)));
        found.map(ToString::to_string).collect()
    }

    /// Numbers of changed objects.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for Change { step, reason } in self.changes() {
            let is_changed = matches!(reason.why, Why::Differs(_));
            let (kind, objects) = match step {
                // A changed object is deleted and added, and counts once.
                Step::DeleteElements(..) if is_changed => continue,
                Step::FlushChain(_) => continue,
                Step::AddElements(_, elements) => (&mut summary.added, elements.len()),
                Step::DeleteElements(_, elements) => (&mut summary.removed, elements.len()),
                Step::AddTable | Step::AddSet(..) | Step::AddChain(..) | Step::AddRule(..) => {
                    (&mut summary.added, 1)
                }
                Step::DeleteTable | Step::DeleteSet(_) | Step::DeleteChain(_) | Step::DeleteObject(_) => {
                    (&mut summary.removed, 1)
                }
            };
            *(if is_changed { &mut summary.changed } else { kind }) += objects;
        }
        summary
    }
}

/// Numbers of objects (tables, sets, chains, rules, elements) that a plan changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// New objects.
    pub added: usize,
    /// Objects replaced by others with the same name or key.
    pub changed: usize,
    /// Deleted objects.
    pub removed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to add, {} to change, {} to remove", self.added, self.changed, self.removed)
    }
}
