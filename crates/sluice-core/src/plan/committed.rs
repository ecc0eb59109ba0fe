//! Plans from the ruleset as it was committed, in proportion to what changes.
//!
//! It is kept as a [`Program`]. A change renders the services that differ and compares their fragments; a law
//! (tests/committed.rs) says that it leads to the same plan as a comparison of whole tables.

use sluice_nft::{Counters, Table};

use crate::model::EffectiveServices;
use crate::model::Transition;
use crate::plan::Plan;
use crate::plan::diff;
use crate::render::connection_counts::ConnectionCounts;
use crate::render::{Delta, Program};

/// A plan, and what is committed once it has been carried out.
#[derive(Debug)]
pub struct Proposal {
    /// What to do.
    pub plan: Plan,
    /// The changed part of the table as it will be.
    pub after: Table,
    delta: Delta,
    is_part: bool,
}

impl Program {
    /// The plan for a transition from what was committed.
    pub fn propose(&self, transition: &Transition<'_>) -> Proposal {
        let (delta, is_part) = self.change(transition);
        self.proposal(delta, is_part)
    }

    /// The plan to make everything as these services need it: all are rendered and compared with what is kept in memory.
    pub fn propose_all(&self, wanted: EffectiveServices<'_>) -> Proposal {
        self.proposal(self.change_all(wanted), false)
    }

    fn proposal(&self, delta: Delta, is_part: bool) -> Proposal {
        let (before, after, owners) = delta.tables(self);
        Proposal { plan: diff(Some(&before), Some(&after), &owners), after, delta, is_part }
    }

    /// Takes over what a proposal led to.
    pub fn accept(&mut self, proposal: Proposal) {
        self.apply(proposal.delta);
    }
}

impl Proposal {
    /// Whether only services that differ were looked at.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// New connections by flow from the counters of elements that its plan deletes.
    pub fn connection_counts(&self, committed: &Program, deleted: &Counters) -> ConnectionCounts {
        match self.delta.services() {
            Some(services) => committed.fragments.connection_counts_of(services, deleted),
            None => committed.fragments.connection_counts(deleted),
        }
    }
}
