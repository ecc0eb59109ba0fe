//! The ruleset as it was committed, and plans in proportion to what changes.
//!
//! [`render()`](crate::render::render()) and [`diff()`] look at everything. That takes a moment at tens of thousands of services, and
//! mostly one service changes: then only what it needs is rendered and compared. A law (tests/committed.rs)
//! says that both lead to the same ruleset.

mod part;
mod usage;

use std::sync::Arc;

use sluice_nft::{Counters, Table};

use crate::diff::diff;
use crate::model::InForce;
use crate::plan::Plan;
use crate::render::entry::{Entry, entries};
use crate::render::{Layout, Rendered, render_beside};
use crate::tally::{Tally, tally, tally_services};
use crate::transition::Transition;
use part::Part;
use usage::Usage;

/// What the kernel was made equal to.
#[derive(Debug)]
pub struct Committed {
    table: Table,
    /// Shared with who counts meanwhile.
    layout: Arc<Layout>,
    usage: Usage,
}

/// A plan, and what is committed once it has been carried out.
#[derive(Debug)]
pub struct Proposal<'a> {
    /// What to do.
    pub plan: Plan,
    after: After<'a>,
}

#[derive(Debug)]
enum After<'a> {
    /// Only this part differs.
    Part(Box<Part<'a>>),
    /// This is everything, made from these services.
    Whole(Table, InForce<'a>),
}

impl Committed {
    /// `table` is what `services` were rendered to.
    pub fn new<'a>(services: impl Into<InForce<'a>>, table: Table) -> Self {
        let (layout, usage) =
            (Arc::new(Layout::of(Some(&table))), Usage::of(&entries(services.into()), &table));
        Committed { table, layout, usage }
    }

    /// The whole table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Where slots lie in it, by which [`tally_services`] tells whose an element is.
    pub fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    /// The plan for a transition from what was committed.
    pub fn propose<'a>(&self, transition: &Transition<'a>) -> Proposal<'a> {
        let (mut old, mut new) = (vec![], vec![]);
        for (name, before, after) in transition.differences() {
            old.extend(before.into_iter().flat_map(|service| Entry::of(name, service)));
            new.extend(after.into_iter().flat_map(|service| Entry::of(name, service)));
        }
        let same_host = transition.held.networks() == transition.wanted.networks();
        let is_local = same_host && self.usage.is_local(&old, &new, &self.table);
        let part = is_local.then(|| Part::new(self, old, new)).flatten();
        if let Some(part) = part {
            return Proposal { plan: part.plan(), after: After::Part(Box::new(part)) };
        }
        self.propose_all(transition.wanted)
    }

    /// The plan to make everything as these services need it, whatever was planned in part before: what is kept in
    /// memory is compared with a rendering of its own.
    pub fn propose_all<'a>(&self, wanted: InForce<'a>) -> Proposal<'a> {
        let Rendered { table, origins } = render_beside(wanted, Some(&self.table), &self.layout);
        Proposal { plan: diff(Some(&self.table), Some(&table), &origins), after: After::Whole(table, wanted) }
    }

    /// Takes over what a proposal led to.
    pub fn accept(&mut self, proposal: Proposal<'_>) {
        match proposal.after {
            After::Part(part) => part.apply(self),
            After::Whole(table, wanted) => *self = Committed::new(wanted, table),
        }
    }

    /// New connections by flow; `services` are those that were committed.
    pub fn tally(&self, services: InForce<'_>, counters: &Counters) -> Tally {
        tally_services(services, &self.layout, counters)
    }
}

impl Proposal<'_> {
    /// Whether only a part of the table was looked at.
    pub fn is_part(&self) -> bool {
        matches!(self.after, After::Part(_))
    }

    /// New connections by flow from the counters of elements that its plan deletes; `held` as above.
    pub fn tally(&self, committed: &Committed, held: InForce<'_>, deleted: &Counters) -> Tally {
        match &self.after {
            After::Part(part) => {
                let Rendered { table, origins } = part.rendered_before();
                tally(table, origins, deleted)
            }
            After::Whole(..) => committed.tally(held, deleted),
        }
    }
}
