//! Changes: services to fragments, as far as they differ from those of a program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_nft::Table;

use super::claims::{Claims, notices};
use super::delta::Delta;
use super::entry::{self, Entry};
use super::fragment::{Draft, Fragment, Pool};
use super::groups::Groups;
use super::layout::{Layout, Places, Stripe};
use super::names::FrontendId;
use super::program::Program;
use super::totals::Traits;
use super::{affinity, dispatch, guard, invalid, midstream, pick, source, synproxy};
use crate::model::Transition;
use crate::model::{InForce, ServiceName};

/// What a fragment is told of other frontends.
struct Others<'a> {
    /// The stripe that a frontend has.
    stripe: &'a dyn Fn(&FrontendId) -> Option<Stripe>,
    groups: &'a Groups<'a>,
    claims: &'a Claims,
}

/// Renders a frontend, along the way of a new flow from its end to its beginning. `places` are for slots that must not
/// stay where they are.
fn fragment(entry: &Entry<'_>, others: &Others<'_>, places: &mut Places, pool: &mut Pool<'_>) -> Fragment {
    let mut draft = Draft::new(Some(entry.id()), pool);
    let held = (others.stripe)(&entry.id());
    let pick = pick::render(&mut draft, entry, |form, slots, elements| {
        let stays = |held: &Stripe| (held.map.form, held.map.ip, held.slots) == (form, entry.ip, slots);
        held.filter(stays).unwrap_or_else(|| places.take(form, entry.ip, slots, elements))
    });
    let known = affinity::render(&mut draft, entry, others.groups, pick);
    let first = guard::render(&mut draft, entry, known);
    dispatch::render(&mut draft, entry, &first);
    midstream::render(&mut draft, entry, &first);
    invalid::render(&mut draft, entry);
    synproxy::render(&mut draft, entry);
    source::render(&mut draft, entry, others.claims);
    draft.fragment.traits = Some(Traits::of(entry));
    draft.finish()
}

/// Fragments by service.
fn fragments(
    entries: &[Entry<'_>],
    others: &Others<'_>,
    places: &mut Places,
    pool: &mut Pool<'_>,
) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
    let of_service = |entries: &[Entry<'_>]| {
        let fragments = entries.iter().map(|entry| fragment(entry, others, places, pool)).collect();
        (Some(entries[0].name.clone()), fragments)
    };
    entries.chunk_by(|a, b| a.name == b.name).map(of_service).collect()
}

impl Program {
    /// All enabled services, for a kernel that holds `current` now.
    ///
    /// A listener whose number of slots is unchanged keeps its stripe, so that its rule and its round-robin counter stay;
    /// one whose number changes gets a stripe that nobody uses, so that its old slots stay valid until the switch is
    /// over. A set keeps its size if it has room for what it is to hold beside what it holds.
    pub(crate) fn new(services: InForce<'_>, current: Option<&Table>) -> Self {
        let Layout { stripes, mut places, groups } = Layout::of(current);
        let entries = entry::entries(services);
        let claims = Claims::of(&entries);
        let mut program = Program::default();
        let mut pool = Pool::new(&program);
        let fragments = {
            let groups = Groups::of(&entries, &groups);
            let stripe = |id: &FrontendId| stripes.get(id).copied();
            let others = Others { stripe: &stripe, groups: &groups, claims: &claims };
            fragments(&entries, &others, &mut places, &mut pool)
        };
        let mut delta = program.delta(fragments, services.networks(), &mut pool, current);
        delta.claims = Some(claims);
        program.take_over(delta);
        program
    }

    /// The change to other services, and whether only those that differ had to be looked at.
    pub(crate) fn change(&self, transition: &Transition<'_>) -> (Delta, bool) {
        let (mut old, mut new) = (vec![], vec![]);
        for (name, before, after) in transition.differences() {
            old.extend(before.into_iter().flat_map(|service| Entry::of(name, service)));
            new.extend(after.into_iter().flat_map(|service| Entry::of(name, service)));
        }
        if !self.concerns_no_other(&old, &new) {
            return (self.change_all(transition.wanted), false);
        }
        let mut pool = Pool::new(self);
        let mut fragments = self.render(&new, &self.claims, &mut pool);
        for (name, ..) in transition.differences() {
            fragments.entry(Some(name.clone())).or_insert_with(|| Arc::new([]));
        }
        (self.delta(fragments, transition.wanted.networks(), &mut pool, None), true)
    }

    /// The change to these services, whatever they were before: everything is rendered and compared with what is kept.
    pub(crate) fn change_all(&self, wanted: InForce<'_>) -> Delta {
        let entries = entry::entries(wanted);
        let claims = Claims::of(&entries);
        let mut pool = Pool::new(self);
        let mut fragments = self.render(&entries, &claims, &mut pool);
        for name in self.fragments.0.keys().filter(|name| name.is_some()) {
            fragments.entry(name.clone()).or_insert_with(|| Arc::new([]));
        }
        let mut delta = self.delta(fragments, wanted.networks(), &mut pool, None);
        delta.claims = Some(claims);
        delta
    }

    /// Whether these frontends can take the place of those without a change to the fragment of any other.
    fn concerns_no_other(&self, old: &[Entry<'_>], new: &[Entry<'_>]) -> bool {
        let before: BTreeSet<_> = self.totals.sources().into_iter().map(|(source, _)| source).collect();
        let after = before.iter().copied().chain(new.iter().map(|entry| entry.service.source));
        let is_one = after.collect::<BTreeSet<_>>().len() < 2;
        is_one || before.len() > 1 && notices(old) == notices(new)
    }

    fn render(
        &self,
        entries: &[Entry<'_>],
        claims: &Claims,
        pool: &mut Pool<'_>,
    ) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
        let groups = Groups::of(entries, &self.groups);
        let stripe = |id: &FrontendId| {
            let of_service = self.fragments.0.get(&Some(id.service.clone()))?;
            of_service.iter().find(|fragment| fragment.owner.as_ref() == Some(id))?.stripe
        };
        let others = Others { stripe: &stripe, groups: &groups, claims };
        fragments(entries, &others, &mut self.places.clone(), pool)
    }
}
