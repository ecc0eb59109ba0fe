//! Services to the ruleset they need.
//!
//! The shape is explained chain by chain in docs/ruleset.md; why it is this one, in docs/adr/.

pub(crate) mod affinity;
pub(crate) mod capacity;
mod dispatch;
pub(crate) mod entry;
mod groups;
mod guard;
mod invalid;
mod layout;
pub(crate) mod midstream;
pub(crate) mod names;
mod pick;
pub(crate) mod reset;
pub(crate) mod source;
mod synproxy;

use sluice_nft::{ChainName, Table};

use crate::model::InForce;
use crate::origin::Origins;
use entry::Entry;
use groups::Groups;
pub use layout::Layout;
pub(crate) use layout::Places;
use source::Claims;

/// A ruleset, and what its elements are for.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// The table as it should be.
    pub table: Table,
    /// Flows behind the elements' origins.
    pub origins: Origins,
}

/// Renders all enabled services, for a kernel that holds `current` now: `None` for no table.
///
/// A listener whose number of slots is unchanged keeps its place, so that its rule and its round-robin counter stay; one
/// whose number changes gets a place that nobody uses, so that its old slots stay valid until the switch is over.
/// A set keeps its size if it has room for what it is to hold beside what it holds.
pub fn render<'a>(services: impl Into<InForce<'a>>, current: Option<&Table>) -> Rendered {
    render_beside(services.into(), current, &Layout::of(current))
}

/// The same; `layout` is that of `current`.
pub(crate) fn render_beside(services: InForce<'_>, current: Option<&Table>, layout: &Layout) -> Rendered {
    let entries = entry::entries(services);
    let mut rendered = Rendered::default();
    let mut places = layout.places();
    let midstream = midstream::Counts::of(&entries).form();
    let groups = Groups::of(&entries, layout);
    for entry in &entries {
        enter(&mut rendered, entry, &groups, layout, &mut places, midstream);
    }
    dispatch::base_chains(&mut rendered.table, &entries, midstream);
    invalid::base_chain(&mut rendered, &entries);
    synproxy::base_chains(&mut rendered.table);
    affinity::learn(&mut rendered.table, &entries, &groups);
    reset::render(&mut rendered.table, &entries);
    source::render(&mut rendered, &entries, services.networks());
    capacity::size(&mut rendered.table, current);
    rendered
}

/// Renders what these entries need for themselves: all but the base chains and, at postrouting, what is not in the
/// sets of constant rules. Names and sizes of sets are as they are in the kernel; `claims` and
/// `midstream` are those of all listeners.
pub(crate) fn render_own(
    entries: &[Entry<'_>],
    layout: &Layout,
    claims: &Claims,
    midstream: midstream::Form,
) -> Rendered {
    let mut rendered = Rendered::default();
    let mut places = layout.places();
    let groups = Groups::of(entries, layout);
    for entry in entries {
        enter(&mut rendered, entry, &groups, layout, &mut places, midstream);
        source::exact(&mut rendered, entry, claims);
    }
    capacity::keep(&mut rendered.table, layout);
    rendered
}

/// Renders where new flows of a listener go, and how they get there.
fn enter<'a>(
    rendered: &mut Rendered,
    entry: &Entry<'a>,
    groups: &Groups<'a>,
    layout: &Layout,
    places: &mut Places,
    midstream: midstream::Form,
) {
    let chain = way(rendered, entry, groups, layout, places);
    dispatch::exact(rendered, entry, &chain);
    midstream::exact(rendered, entry, &chain, midstream);
    invalid::render(rendered, entry);
    synproxy::render(rendered, entry);
}

/// Chains of a listener's own that base chains lead to.
pub(crate) fn way_names(entry: &Entry<'_>) -> [ChainName; 2] {
    [names::private_pick(entry), names::private_guard(entry)]
}

/// Renders the chains that a new flow of a listener goes through, from the last to the first, which is returned.
fn way<'a>(
    rendered: &mut Rendered,
    entry: &Entry<'a>,
    groups: &Groups<'a>,
    layout: &Layout,
    places: &mut Places,
) -> ChainName {
    let pick = pick::render(rendered, entry, layout, places);
    let known = affinity::render(rendered, entry, groups, pick);
    guard::render(rendered, entry, known)
}

/// Renders what counts for some listeners: pick chains and guards; `places` are for those that have none in the kernel.
pub(crate) fn render_counted(entries: &[Entry<'_>], layout: &Layout, places: &mut Places) -> Rendered {
    let mut rendered = Rendered::default();
    let groups = Groups::of(entries, layout);
    for entry in entries {
        way(&mut rendered, entry, &groups, layout, places);
        invalid::render(&mut rendered, entry);
    }
    capacity::keep(&mut rendered.table, layout);
    rendered
}
