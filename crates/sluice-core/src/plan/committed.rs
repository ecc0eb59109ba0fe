//! [`Proposal`]: plans a change from the committed [`Program`], at a cost proportional to the change.
//!
//! Only the services that differ are rendered and compared. A law (tests/committed.rs) proves that the plan
//! is the same as from a comparison of whole tables.

use sluice_nft::{Counters, Table};

use crate::model::{EffectiveServices, Transition};
use crate::plan::{Plan, diff};
use crate::render::connection_counts::ConnectionCounts;
use crate::render::{Delta, Program};

/// A plan, and the delta to apply to the program after its last commit.
#[derive(Debug)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// The changed part of the desired table.
    pub after: Table,
    delta: Delta,
}

impl Program {
    /// Plans a transition from the committed services.
    pub fn propose(&self, transition: &Transition<'_>) -> Proposal {
        self.proposal(self.change(transition))
    }

    /// Plans the change to these services: renders all of them and compares them with the program.
    pub fn propose_all(&self, desired: EffectiveServices<'_>) -> Proposal {
        self.proposal(self.change_all(desired))
    }

    fn proposal(&self, delta: Delta) -> Proposal {
        let (before, after, owners) = delta.tables(self);
        Proposal { plan: diff(Some(&before), Some(&after), &owners), after, delta }
    }

    /// Applies the delta of a committed proposal.
    pub fn accept(&mut self, proposal: Proposal) {
        self.apply(proposal.delta);
    }
}

impl Proposal {
    /// Whether the delta was computed from the changed services alone.
    pub fn is_part(&self) -> bool {
        self.delta.is_part
    }

    /// New connections by the counters of elements that the plan deleted.
    pub fn connection_counts(&self, committed: &Program, deleted: &Counters) -> ConnectionCounts {
        committed.fragments.connection_counts_of(self.delta.services(), deleted)
    }
}
