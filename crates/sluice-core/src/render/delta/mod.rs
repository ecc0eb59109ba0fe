//! [`Delta`]: the difference between a [`Program`] and new fragments of some services.
//!
//! Pure. `sets` finds the sets that change, `tables` renders the changed part of the table, and `apply` changes
//! the program.

mod apply;
mod sets;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Chain, Rule, SetName, Table};

use super::ambiguous::AmbiguousFlows;
use super::answers::NewAnswerCounts;
use super::assembly::{AssemblyInput, assemble};
use super::fragment::{Draft, Fragment, Pool};
use super::names::{ChainId, SetId};
use super::program::{ChainState, Hooks, KeyMap, Program, SetState, is_live};
use super::source;
use super::totals::Totals;
use crate::model::{Networks, ServiceName};

/// The difference between a program and new fragments of some services.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// New fragments of the services whose fragments change; empty if the service is removed.
    fragments: BTreeMap<Option<ServiceName>, Arc<[Fragment]>>,
    sets: BTreeMap<SetId, SetChange>,
    chains: BTreeMap<ChainId, ChainState>,
    /// All hooks, if any of them changes.
    hooks: Option<Hooks>,
    totals: Totals,
    /// All assembled chains, if any of them changes.
    assembled: Option<BTreeMap<ChainId, Chain>>,
    /// Ambiguous flows of all frontends, if they were computed again.
    pub(super) ambiguous: Option<AmbiguousFlows>,
    /// New numbers of listeners in whose name backends answer.
    pub(super) answer_counts: NewAnswerCounts,
    /// Whether it was computed from the changed services alone.
    pub(crate) is_part: bool,
}

/// A set whose elements or name change.
#[derive(Debug)]
struct SetChange {
    /// The set after the change.
    state: SetState,
    /// Its names in the kernel; `None` if the kernel does not have it.
    name_before: Option<SetName>,
    name_after: Option<SetName>,
    /// Number of fragments with elements in it that do not change.
    retained: usize,
    /// References to elements of changed fragments; empty if all elements are new and in one fragment each.
    ref_counts: KeyMap<RefCounts>,
}

/// Numbers of fragments with an element, before and after the change.
#[derive(Clone, Copy, Debug, Default)]
struct RefCounts {
    before: u32,
    after: u32,
}

impl Program {
    /// Computes the delta to new fragments of some services on a host with these networks. `current` is the table in the
    /// kernel, if it is not the table of this program.
    pub(super) fn delta(
        &self,
        mut fragments: BTreeMap<Option<ServiceName>, Arc<[Fragment]>>,
        networks: &Networks,
        current: Option<&Table>,
    ) -> Delta {
        fragments.retain(|service, new| self.of_service(service) != &**new);
        let mut totals = self.totals.clone();
        for (service, new) in &fragments {
            let traits = |fragment: &Fragment| fragment.traits;
            self.of_service(service).iter().filter_map(traits).for_each(|traits| totals.count(traits, -1));
            new.iter().filter_map(traits).for_each(|traits| totals.count(traits, 1));
        }
        let mut pool = Pool::new(self);
        let mut host = Draft::new(None, &mut pool);
        source::near(&mut host, totals.sources(), networks);
        let host: Arc<[Fragment]> =
            [host.finish()].into_iter().filter(|host| !host.elements.is_empty()).collect();
        if self.of_service(&None) != &*host {
            fragments.insert(None, host);
        }
        let mut delta = Delta { fragments, totals, ..Delta::default() };
        delta.sets = self.set_changes(&delta, current);
        delta.chains = self.chain_changes(&delta);
        delta.hooks = self.changed_hooks(&delta);
        let other_totals = delta.totals != self.totals;
        let other_sets = delta.sets.values().any(|set| set.name_before.is_some() != set.name_after.is_some());
        if delta.hooks.is_some() || other_totals || other_sets {
            delta.assembled = Some(self.assemble(&delta)).filter(|assembled| *assembled != self.assembled);
        }
        delta
    }

    /// The current fragments of a service.
    pub(super) fn of_service(&self, service: &Option<ServiceName>) -> &[Fragment] {
        self.fragments.0.get(service).map_or(&[], |fragments| fragments)
    }

    /// Fragments of the services without changes.
    fn retained<'a>(&'a self, delta: &'a Delta) -> impl Iterator<Item = &'a Fragment> {
        let services = self.fragments.0.iter().filter(|(service, _)| !delta.fragments.contains_key(*service));
        services.flat_map(|(_, fragments)| fragments.iter())
    }

    /// Fragments that the delta replaces or removes.
    fn removed<'a>(&'a self, delta: &'a Delta) -> impl Iterator<Item = &'a Fragment> {
        delta.fragments.keys().flat_map(|service| self.of_service(service))
    }

    fn chain_changes(&self, delta: &Delta) -> BTreeMap<ChainId, ChainState> {
        let mut chains = BTreeMap::new();
        let new = delta.added().flat_map(|fragment| &fragment.shared).map(|chain| (chain, 1));
        let old = self.removed(delta).flat_map(|fragment| &fragment.shared).map(|chain| (chain, -1));
        for (chain, by) in new.chain(old) {
            let state = chains.entry(chain.id.clone()).or_insert_with(|| {
                let known = self.chains.get(&chain.id).cloned();
                known.unwrap_or_else(|| ChainState { chain: chain.clone(), refs: 0 })
            });
            state.refs = state.refs.saturating_add_signed(by);
        }
        chains
    }

    fn changed_hooks(&self, delta: &Delta) -> Option<Hooks> {
        let (old, new) = (hooks(self.removed(delta)), hooks(delta.added()));
        (old != new).then(|| {
            let mut hooks = self.hooks.clone();
            old.keys().for_each(|key| drop(hooks.remove(key)));
            hooks.extend(new);
            hooks
        })
    }

    fn assemble(&self, delta: &Delta) -> BTreeMap<ChainId, Chain> {
        let mut hooks = BTreeMap::<_, Vec<Rule>>::new();
        for ((chain, ..), rule) in delta.hooks.as_ref().unwrap_or(&self.hooks) {
            let rules = hooks.entry(chain.clone()).or_default();
            // Several listeners on one port may need the same rule.
            if !matches!(chain, ChainId::LearnPort(..)) || !rules.contains(rule) {
                rules.push((**rule).clone());
            }
        }
        let set = |id: &SetId| match delta.sets.get(id) {
            Some(change) => change.name_after.as_ref().map(|_| change.state.set.name.clone()),
            None => {
                self.sets.get(id).filter(|_| is_live(id, &delta.totals)).map(|state| state.set.name.clone())
            }
        };
        assemble(&AssemblyInput { set: &set, totals: &delta.totals, hooks })
    }
}

/// The hooks of fragments, in the order of their chains.
fn hooks<'a>(fragments: impl Iterator<Item = &'a Fragment>) -> Hooks {
    let of = |fragment: &'a Fragment| {
        let owner = fragment.owner.as_ref();
        let hooks = fragment.hooks.iter().enumerate();
        hooks.filter_map(move |(n, hook)| {
            Some(((hook.chain.clone(), hook.rank, owner?.clone(), n), hook.rule.clone()))
        })
    };
    fragments.flat_map(of).collect()
}

impl Delta {
    /// New fragments.
    fn added(&self) -> impl Iterator<Item = &Fragment> {
        self.fragments.values().flat_map(|fragments| fragments.iter())
    }

    /// Services whose counters the change may delete; `None`: all services.
    pub(crate) fn services(&self) -> Option<impl DoubleEndedIterator<Item = &Option<ServiceName>>> {
        let is_part = self.sets.values().all(|set| !set.moves_retained());
        is_part.then(|| self.fragments.keys())
    }
}

impl SetChange {
    /// Whether elements of retained fragments are in a set with another name after the change.
    fn moves_retained(&self) -> bool {
        self.retained > 0 && self.name_before != self.name_after
    }
}
