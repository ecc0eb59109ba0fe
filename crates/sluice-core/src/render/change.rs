//! Renders services into fragments, all of them or only those that differ from a [`Program`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_nft::Table;

use super::ambiguous::{AmbiguousFlows, source_traits};
use super::answers::{self, AnswerCounts, NewAnswerCounts};
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

/// Renders frontends into fragments. These depend on the frontends and on the facts here.
struct Renderer<'a> {
    /// The current stripe of a frontend.
    stripe: &'a dyn Fn(&FrontendId) -> Option<Stripe>,
    groups: Groups<'a>,
    ambiguous: &'a AmbiguousFlows,
    answer_counts: &'a NewAnswerCounts,
    stripes_in_use: StripeAllocator,
    pool: Pool<'a>,
}

impl Renderer<'_> {
    /// Renders fragments by service.
    fn fragments(mut self, frontends: &[Frontend<'_>]) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
        let of_service = |frontends: &[Frontend<'_>]| {
            let fragments = frontends.iter().map(|frontend| self.fragment(frontend)).collect();
            (Some(frontends[0].name.clone()), fragments)
        };
        frontends.chunk_by(|a, b| a.name == b.name).map(of_service).collect()
    }

    fn fragment(&mut self, frontend: &Frontend<'_>) -> Fragment {
        let Renderer { stripe, groups, ambiguous, answer_counts, stripes_in_use, pool } = self;
        let mut draft = Draft::new(Some(frontend.id()), pool);
        draft.fragment.traits = Some(Traits::of(frontend));
        match frontend.service.mode {
            // From the end of a flow's path to its beginning.
            Mode::Nat => {
                let ip = frontend.ip;
                let held = stripe(&frontend.id());
                let pick = pick::render(&mut draft, frontend, |shape, slots, elements| {
                    let stays =
                        |held: &Stripe| (held.map.shape, held.map.ip, held.slots) == (shape, ip, slots);
                    held.filter(stays).unwrap_or_else(|| stripes_in_use.take(shape, ip, slots, elements))
                });
                let known = affinity::render(&mut draft, frontend, groups, pick);
                let first = guard::render(&mut draft, frontend, known);
                dispatch::render(&mut draft, frontend, &first);
                midstream::render(&mut draft, frontend, &first);
                invalid::render(&mut draft, frontend);
                synproxy::render(&mut draft, frontend);
                source::render(&mut draft, frontend, ambiguous);
                answers::render(&mut draft, frontend, answer_counts);
            }
        }
        draft.finish()
    }
}

impl Program {
    /// Renders all enabled services, for a kernel that holds `current` now.
    ///
    /// A listener with an unchanged number of slots keeps its stripe, and thereby its rule and its
    /// round-robin counter. A listener with another number gets an unused stripe, so that its old slots
    /// remain valid until the switch. A set keeps its size if it has room for its old and its new elements
    /// together.
    pub(crate) fn new(services: EffectiveServices<'_>, current: Option<&Table>) -> Self {
        let Layout { stripes, stripes_in_use, groups } = Layout::of(current);
        let held = Program { stripes_in_use, groups, ..Program::default() };
        let delta = held.change_to(services, &|id| stripes.get(id).copied(), current);
        let mut program = Program::default();
        program.apply(delta);
        program
    }

    /// The delta to other services, computed from the changed services alone if possible.
    pub(crate) fn change(&self, transition: &Transition<'_>) -> Delta {
        let (mut old, mut new) = (vec![], vec![]);
        for (name, before, after) in transition.differences() {
            old.extend(before.into_iter().flat_map(|service| Frontend::of(name, service)));
            new.extend(after.into_iter().flat_map(|service| Frontend::of(name, service)));
        }
        let answer_counts = self.answer_counts.replace(&old, &new);
        let Some(answer_counts) = answer_counts.filter(|_| self.concerns_no_other(&old, &new)) else {
            return self.change_all(transition.desired);
        };
        let mut fragments = self.render(&new, (&self.ambiguous, &answer_counts), &|id| self.stripe(id));
        for (name, ..) in transition.differences() {
            fragments.entry(Some(name.clone())).or_insert_with(|| Arc::new([]));
        }
        let mut delta = self.delta(fragments, transition.desired.networks(), None);
        delta.answer_counts = answer_counts;
        delta.is_part = true;
        delta
    }

    /// The delta to these services: renders all of them and compares their fragments with those of the
    /// program.
    pub(crate) fn change_all(&self, desired: EffectiveServices<'_>) -> Delta {
        self.change_to(desired, &|id| self.stripe(id), None)
    }

    fn change_to(
        &self,
        desired: EffectiveServices<'_>,
        stripe: &dyn Fn(&FrontendId) -> Option<Stripe>,
        current: Option<&Table>,
    ) -> Delta {
        let frontends = frontend::frontends(desired);
        let ambiguous = AmbiguousFlows::of(&frontends);
        let answer_counts = AnswerCounts::of(&frontends);
        let mut fragments = self.render(&frontends, (&ambiguous, &answer_counts), stripe);
        for name in self.fragments.0.keys().filter(|name| name.is_some()) {
            fragments.entry(name.clone()).or_insert_with(|| Arc::new([]));
        }
        let mut delta = self.delta(fragments, desired.networks(), current);
        delta.ambiguous = Some(ambiguous);
        delta.answer_counts = answer_counts;
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
        (ambiguous, answer_counts): (&AmbiguousFlows, &NewAnswerCounts),
        stripe: &dyn Fn(&FrontendId) -> Option<Stripe>,
    ) -> BTreeMap<Option<ServiceName>, Arc<[Fragment]>> {
        let groups = Groups::of(frontends, &self.groups);
        let (stripes_in_use, pool) = (self.stripes_in_use.clone(), Pool::new(self));
        Renderer { stripe, groups, ambiguous, answer_counts, stripes_in_use, pool }.fragments(frontends)
    }

    /// The stripe of a frontend.
    fn stripe(&self, id: &FrontendId) -> Option<Stripe> {
        let of_service = self.fragments.0.get(&Some(id.service.clone()))?;
        of_service.iter().find(|fragment| fragment.owner.as_ref() == Some(id))?.stripe
    }
}
