//! Services to the ruleset they need: fragments, one for each listener and IP version, and their sum.
//!
//! The shape is explained chain by chain in docs/ruleset.md; why it is this one, in docs/adr/.

pub(crate) mod affinity;
mod assembly;
mod capacity;
mod change;
mod claims;
pub mod clients;
mod delta;
mod dispatch;
mod entry;
mod fragment;
mod groups;
mod guard;
mod invalid;
mod layout;
pub mod maglev;
mod midstream;
mod names;
pub mod owner;
pub mod per_port;
mod pick;
mod program;
mod reset;
mod scheduler;
pub mod slots;
mod source;
mod synproxy;
pub mod tally;
mod totals;

use sluice_nft::Table;

use crate::model::InForce;
pub use affinity::Remembered;
pub(crate) use delta::Delta;
pub use entry::{Entry, Rank, entries};
pub use layout::{Form, GroupNumbers, Layout};
pub use names::{Access, ChainId, FrontendId, PickBy, SetId};
use owner::Owners;
pub use program::{Fragments, Program};

/// A ruleset, and what its elements are for.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The table as it should be.
    pub table: Table,
    /// Services of its elements.
    pub owners: Owners,
    /// What it is the sum of.
    pub program: Program,
}

/// Renders all enabled services, for a kernel that holds `current` now: `None` for no table.
pub fn render<'a>(services: impl Into<InForce<'a>>, current: Option<&Table>) -> Rendered {
    let program = Program::new(services.into(), current);
    let (table, owners) = program.fold();
    Rendered { table, owners, program }
}
