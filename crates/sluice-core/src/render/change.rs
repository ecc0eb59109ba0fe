//! Renders services into fragments, all of them or only those that differ from a [`Program`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_nft::Table;

use super::ambiguous::{AmbiguousFlows, source_traits};
use super::delta::Delta;
use super::fragment::{Draft, Fragment, Pool};
use super::frontend::{self, Frontend};
use super::groups::Groups;
use super::layout::{Layout, Stripe, StripeAllocator};
use super::names::FrontendId;
use super::program::Program;
use super::totals::Traits;
use super::{affinity, dispatch, guard, invalid, midstream, pick, source, synproxy};
use crate::model::{EffectiveServices, Mode, ServiceName, Transition};

/// What the fragment of a frontend depends on beside its service.
struct Surroundings<'a> {
    /// The current stripe of a frontend.
    stripe: &'a dyn Fn(&FrontendId) -> Option<Stripe>,
    groups: &'a Groups<'a>,
    ambiguous: &'a AmbiguousFlows,
}

/// Renders one frontend.
fn fragment(
    frontend: &Frontend<'_>,
    others: &Surroundings<'_>,
    stripes_in_use: &mut StripeAllocator,
    pool: &mut Pool<'_>,
) -> Fragment {
    let mut draft = Draft::new(Some(frontend.id()), pool);
    match frontend.service.mode {
        Mode::Nat => translate(&mut draft, frontend, others, stripes_in_use),
    }
    draft.fragment.traits = Some(Traits::of(frontend));
    draft.finish()
}

/// Renders a frontend of [`Mode::Nat`], from the end of a flow's path to its beginning. A frontend that cannot keep its
/// stripe gets a new one of `stripes_in_use`.
fn translate(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    others: &Surroundings<'_>,
    stripes_in_use: &mut StripeAllocator,
) {
    let held = (others.stripe)(&frontend.id());
    let pick = pick::render(draft, frontend, |shape, slots, elements| {
        let stays = |held: &Stripe| (held.map.shape, held.map.ip, held.slots) == (shape, frontend.ip, slots);
        held.filter(stays).unwrap_or_else(|| stripes_in_use.take(shape, frontend.ip, slots, elements))
    });
    let known = affinity::render(draft, frontend, others.groups, pick);
    let first = guard::render(draft, frontend, known);
    dispatch::render(draft, frontend, &first);
    midstream::render(draft, frontend, &first);
    invalid::render(draft, frontend);
    synproxy::render(draft, frontend);
    source::render(draft, frontend, others.ambiguous);
}

/// Renders fragments by service.
fn fragments(
    frontends: &[Frontend<'_>],
    others: &Surroundings<'_>,
    stripes_in_use: &mut StripeAllocator,
    pool: &mut Pool<'_>,
) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
    let of_service = |frontends: &[Frontend<'_>]| {
        let fragments =
            frontends.iter().map(|frontend| fragment(frontend, others, stripes_in_use, pool)).collect();
        (Some(frontends[0].name.clone()), fragments)
    };
    frontends.chunk_by(|a, b| a.name == b.name).map(of_service).collect()
}

impl Program {
    /// Renders all enabled services, for a kernel that holds `current` now.
    ///
    /// A listener with an unchanged number of slots keeps its stripe, and thereby its rule and its
    /// round-robin counter. A listener with another number gets an unused stripe, so that its old slots
    /// remain valid until the switch. A set keeps its size if it has room for its old and its new elements
    /// together.
    pub(crate) fn new(services: EffectiveServices<'_>, current: Option<&Table>) -> Self {
        let Layout { stripes, mut stripes_in_use, groups } = Layout::of(current);
        let frontends = frontend::frontends(services);
        let ambiguous = AmbiguousFlows::of(&frontends);
        let mut program = Program::default();
        let mut pool = Pool::new(&program);
        let fragments = {
            let groups = Groups::of(&frontends, &groups);
            let stripe = |id: &FrontendId| stripes.get(id).copied();
            let others = Surroundings { stripe: &stripe, groups: &groups, ambiguous: &ambiguous };
            fragments(&frontends, &others, &mut stripes_in_use, &mut pool)
        };
        let mut delta = program.delta(fragments, services.networks(), &mut pool, current);
        delta.ambiguous = Some(ambiguous);
        program.apply(delta);
        program
    }

    /// The delta to other services, and whether it was computed from the changed services alone.
    pub(crate) fn change(&self, transition: &Transition<'_>) -> (Delta, bool) {
        let (mut old, mut new) = (vec![], vec![]);
        for (name, before, after) in transition.differences() {
            old.extend(before.into_iter().flat_map(|service| Frontend::of(name, service)));
            new.extend(after.into_iter().flat_map(|service| Frontend::of(name, service)));
        }
        if !self.concerns_no_other(&old, &new) {
            return (self.change_all(transition.desired), false);
        }
        let mut pool = Pool::new(self);
        let mut fragments = self.render(&new, &self.ambiguous, &mut pool);
        for (name, ..) in transition.differences() {
            fragments.entry(Some(name.clone())).or_insert_with(|| Arc::new([]));
        }
        (self.delta(fragments, transition.desired.networks(), &mut pool, None), true)
    }

    /// The delta to these services: renders all of them and compares their fragments with those of the
    /// program.
    pub(crate) fn change_all(&self, desired: EffectiveServices<'_>) -> Delta {
        let frontends = frontend::frontends(desired);
        let ambiguous = AmbiguousFlows::of(&frontends);
        let mut pool = Pool::new(self);
        let mut fragments = self.render(&frontends, &ambiguous, &mut pool);
        for name in self.fragments.0.keys().filter(|name| name.is_some()) {
            fragments.entry(name.clone()).or_insert_with(|| Arc::new([]));
        }
        let mut delta = self.delta(fragments, desired.networks(), &mut pool, None);
        delta.ambiguous = Some(ambiguous);
        delta
    }

    /// Whether replacing `old` by `new` leaves the fragments of all other frontends unchanged.
    fn concerns_no_other(&self, old: &[Frontend<'_>], new: &[Frontend<'_>]) -> bool {
        let before: BTreeSet<_> = self.totals.sources().into_iter().map(|(source, _)| source).collect();
        let after = before.iter().copied().chain(new.iter().map(|frontend| frontend.service.source));
        let is_one = after.collect::<BTreeSet<_>>().len() < 2;
        is_one || before.len() > 1 && source_traits(old) == source_traits(new)
    }

    fn render(
        &self,
        frontends: &[Frontend<'_>],
        ambiguous: &AmbiguousFlows,
        pool: &mut Pool<'_>,
    ) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
        let groups = Groups::of(frontends, &self.groups);
        let stripe = |id: &FrontendId| {
            let of_service = self.fragments.0.get(&Some(id.service.clone()))?;
            of_service.iter().find(|fragment| fragment.owner.as_ref() == Some(id))?.stripe
        };
        let others = Surroundings { stripe: &stripe, groups: &groups, ambiguous };
        fragments(frontends, &others, &mut self.stripes_in_use.clone(), pool)
    }
}
