//! Renders services into the ruleset: one `Fragment` per listener and IP version, and
//! their sum, a [`Program`]. Pure.
//!
//! docs/ruleset.md explains the ruleset chain by chain, docs/adr/ the reasons for it.

pub(crate) mod affinity;
mod ambiguous;
mod answers;
mod assembly;
pub mod bounds;
mod capacity;
mod change;
pub mod clients;
pub mod connection_counts;
mod delta;
mod dispatch;
mod fragment;
mod frontend;
mod groups;
mod guard;
mod invalid;
mod layout;
pub mod maglev;
mod midstream;
mod names;
pub mod owner;
mod pick;
mod program;
mod reset;
mod scheduler;
pub mod slots;
mod source;
mod synproxy;
mod totals;

use sluice_nft::Table;

use crate::model::EffectiveServices;
pub use affinity::Remembered;
pub(crate) use delta::Delta;
pub use frontend::{Frontend, Rank, frontends};
pub use layout::{GroupNumbers, MapShape};
pub use names::{Access, ChainId, FrontendId, PickBy, SetId};
use owner::Owners;
pub use program::{Fragments, Program};

/// A rendered ruleset.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The desired table.
    pub table: Table,
    /// The services of its elements.
    pub owners: Owners,
    /// The program whose fragments it is the sum of.
    pub program: Program,
}

/// Renders all enabled services, for a kernel that holds `current` now; `None`: no table.
pub fn render<'a>(services: impl Into<EffectiveServices<'a>>, current: Option<&Table>) -> Rendered {
    let program = Program::new(services.into(), current);
    let (table, owners) = program.fold();
    Rendered { table, owners, program }
}
