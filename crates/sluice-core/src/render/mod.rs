//! Services to the ruleset they need.
//!
//! The shape is explained chain by chain in docs/ruleset.md; why it is this one, in docs/adr/.

mod capacity;
mod dispatch;
pub(crate) mod entry;
mod layout;
mod names;
mod pick;
mod source;

use std::collections::BTreeMap;

use sluice_nft::Table;

use crate::model::{Service, ServiceName};
use crate::origin::Origins;
pub use layout::Layout;

/// A ruleset, and what its elements are for.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// The table as it should be.
    pub table: Table,
    /// Flows behind the elements' origins.
    pub origins: Origins,
}

/// Renders all enabled services.
///
/// `layout` says where slots lie in the kernel now: a listener whose number of slots is unchanged
/// keeps its place, so that its rule and its round-robin counter stay; one whose number changes
/// gets a place that nobody uses, so that its old slots stay valid until the switch is over.
pub fn render(services: &BTreeMap<ServiceName, Service>, layout: &Layout) -> Rendered {
    let entries = entry::entries(services);
    let mut rendered = Rendered::default();
    let mut places = layout.places();
    for entry in &entries {
        let chain = pick::render(&mut rendered, entry, layout, &mut places);
        dispatch::exact(&mut rendered, entry, &chain);
    }
    dispatch::base_chains(&mut rendered.table, &entries);
    source::render(&mut rendered, &entries);
    capacity::size(&mut rendered.table, layout);
    rendered
}
