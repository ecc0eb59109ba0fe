//! [`Program`]: the table as the sum of its fragments, with reference counts. The reconciler owns it and
//! applies a delta to it after each commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sluice_nft::{Chain, ChainName, Element, Key, Rule, Set, SetName, Table};

use super::ambiguous::AmbiguousFlows;
use super::capacity::SMALLEST;
use super::fragment::{DeclaredSet, Fragment, SharedChain, StoredElement};
use super::frontend::Rank;
use super::layout::{GroupNumbers, StripeAllocator};
use super::midstream::Arriving;
use super::names::{ChainId, FrontendId, SetId};
use super::totals::Totals;
use crate::model::ServiceName;
use crate::render::clients::Clients;
use crate::render::owner::Owners;

/// All fragments by service; `None`: that of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragments(pub(super) BTreeMap<Option<ServiceName>, Arc<[Fragment]>>);

/// The table as the sum of fragments. Derived data are kept, so that the cost of planning a change is
/// proportional to the change.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The fragments, which know the owners of elements; shared with readers of counters.
    pub fragments: Arc<Fragments>,
    pub(super) sets: BTreeMap<SetId, SetState>,
    /// Number of fragments with an element, for elements in more than one fragment.
    pub(super) common: BTreeMap<SetId, KeyMap<u32>>,
    /// Excludes elements that are in no fragment.
    pub(super) key_filter: KeyFilter,
    pub(super) chains: BTreeMap<ChainId, ChainState>,
    pub(super) hooks: Hooks,
    pub(super) totals: Totals,
    pub(super) assembled: BTreeMap<ChainId, Chain>,
    pub(super) ambiguous: AmbiguousFlows,
    pub(super) stripes_in_use: StripeAllocator,
    /// Numbers of affinity groups.
    pub groups: GroupNumbers,
}

/// Values by the key of an element. The hash function of the standard library took a tenth of the time of a rendering.
pub(super) type KeyMap<V> = HashMap<Key, V, FixedState>;

/// A filter of the elements in sets that several fragments fill, with a few bytes per element: if it does not
/// contain an element, the fragments need not be searched for it.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyFilter(HashMap<u32, u32, FixedState>);

impl KeyFilter {
    /// Whether a fragment may have this element. `false` is certain.
    pub(super) fn may_contain(&self, key: &Key) -> bool {
        self.0.contains_key(&hash(key))
    }

    /// Replaces the number of fragments with this element.
    pub(super) fn change(&mut self, key: &Key, before: u32, after: u32) {
        let hash = hash(key);
        // Other elements may have the same hash.
        let count = self.0.get(&hash).copied().unwrap_or(0).saturating_sub(before) + after;
        match count {
            0 => self.0.remove(&hash),
            count => self.0.insert(hash, count),
        };
    }
}

fn hash(key: &Key) -> u32 {
    FixedState::default().hash_one(key) as u32
}

/// A set of fragments.
#[derive(Clone, Debug)]
pub(super) struct SetState {
    pub(super) set: Arc<DeclaredSet>,
    /// Number of fragments with it.
    pub(super) refs: usize,
    /// Number of elements.
    pub(super) count: usize,
    /// The size that depends on the number of elements; `None`: the set has no such size.
    pub(super) size: Option<u32>,
}

/// A shared chain of fragments.
#[derive(Clone, Debug)]
pub(super) struct ChainState {
    pub(super) chain: Arc<SharedChain>,
    /// Number of fragments with it.
    pub(super) refs: usize,
}

/// Rules of frontends in common chains, in order; the number distinguishes the rules of one frontend.
pub(super) type Hooks = BTreeMap<(ChainId, Rank, FrontendId, usize), Arc<Rule>>;

/// Names of sets without a size, to their names with a size, if these differ.
pub(super) type Renamed = BTreeMap<SetName, SetName>;

impl Fragments {
    /// All fragments by service; that of the host comes first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Fragment> {
        self.0.values().flat_map(|fragments| fragments.iter())
    }
}

impl SetState {
    /// The name of the set in the kernel.
    pub(super) fn name(&self) -> SetName {
        self.set.named(self.size)
    }

    /// The declaration of the set in the kernel.
    pub(super) fn declaration(&self) -> Set {
        let declaration = self.set.declaration.clone();
        match self.size {
            None => declaration,
            Some(size) => declaration.sized(size),
        }
    }
}

/// Whether the table has a set of the fragments. The sets for midstream packets exist only if the rules look them up.
pub(super) fn is_live(id: &SetId, totals: &Totals) -> bool {
    match id {
        SetId::Adopted(_) => matches!(totals.midstream(), Arriving::Mixed { .. }),
        SetId::Ignored(_) => totals.midstream() == Arriving::Mixed { by_rule: true },
        SetId::Services(_)
        | SetId::Guarded(_)
        | SetId::UnknownClients(_)
        | SetId::Syns(_)
        | SetId::Proxied(_)
        | SetId::InvalidRequests(_)
        | SetId::InvalidReplies(_)
        | SetId::Invalid(_)
        | SetId::OnLink(_)
        | SetId::SameInterface
        | SetId::Clients(..)
        | SetId::Bound(..)
        | SetId::Learn(_)
        | SetId::Source(_)
        | SetId::OwnSource(..)
        | SetId::Slots(..)
        | SetId::Stripes(..)
        | SetId::Networks(..)
        | SetId::Dropped(..)
        | SetId::Limit(..) => true,
    }
}

impl Program {
    /// Sets of the table.
    pub(super) fn live(&self) -> impl Iterator<Item = &SetState> {
        self.sets.values().filter(|state| is_live(&state.set.id, &self.totals))
    }

    /// Numbers of sets, chains and elements of the table.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let own: usize = self.fragments.iter().map(|fragment| fragment.own.len()).sum();
        let (sets, elements) = self.live().fold((0, 0), |(n, elements), set| (n + 1, elements + set.count));
        (sets, self.chains.len() + self.assembled.len() + own, elements)
    }

    /// Names and declarations of the sets with counters.
    pub fn counting(&self) -> Vec<(SetName, Set)> {
        let counting = self.live().filter(|state| state.set.declaration.counter);
        counting.map(|state| (state.name(), state.declaration())).collect()
    }

    /// The client maps, and their declarations.
    pub fn client_maps(&self) -> Vec<(Clients, Set)> {
        let maps = self.live().filter_map(|state| match state.set.id {
            SetId::Clients(kind, ip) => Some((Clients::new(state.name(), ip, kind), state.declaration())),
            _ => None,
        });
        maps.collect()
    }

    /// The whole table.
    pub fn table(&self) -> Table {
        self.fold().0
    }

    pub(super) fn renamed(&self) -> Renamed {
        let states = self.live().filter(|state| state.size.is_some_and(|size| size != SMALLEST));
        states.map(|state| (state.set.name.clone(), state.name())).collect()
    }

    /// Folds all fragments into the table and the services of its elements.
    pub(crate) fn fold(&self) -> (Table, Owners) {
        let mut table = Table::default();
        let mut owners = Owners::new();
        let mut elements = gather(self.fragments.iter(), |id| is_live(id, &self.totals));
        for state in self.live() {
            let elements = elements.remove(&state.set.id).unwrap_or_default();
            let (set, owned) = filled(state.declaration(), elements);
            owners.insert(state.name(), owned);
            table.sets.insert(state.name(), set);
        }
        let own = self.fragments.iter().flat_map(|fragment| &fragment.own);
        let shared = self.chains.values().map(|state| &*state.chain);
        table.chains = chains(own, shared, &self.assembled, &self.renamed());
        (table, owners)
    }
}

/// Chains of a table: those of single frontends, shared ones, and common ones.
pub(super) fn chains<'a>(
    own: impl Iterator<Item = &'a (ChainName, Vec<Rule>)>,
    shared: impl Iterator<Item = &'a SharedChain>,
    assembled: impl IntoIterator<Item = (&'a ChainId, &'a Chain)>,
    renamed: &Renamed,
) -> BTreeMap<ChainName, Chain> {
    let own = own.map(|(name, rules)| (name.clone(), None, rules));
    let shared = shared.map(|chain| (chain.name.clone(), None, &chain.rules));
    let assembled = assembled.into_iter().map(|(id, chain)| (id.clone().into(), chain.base, &chain.rules));
    let all = own.chain(shared).chain(assembled);
    all.map(|(name, base, rules)| (name, Chain { base, rules: rename(rules, renamed) })).collect()
}

/// Elements of the wanted sets, unordered.
pub(super) fn gather<'a>(
    fragments: impl Iterator<Item = &'a Fragment>,
    is_wanted: impl Fn(&SetId) -> bool,
) -> BTreeMap<&'a SetId, Vec<Owned<'a>>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for fragment in fragments {
        for elements in fragment.elements.iter().filter(|elements| is_wanted(&elements.set.id)) {
            // The elements of this map do not belong to one service.
            let service = fragment.service().filter(|_| !matches!(elements.set.id, SetId::Learn(_)));
            let of_set = all.entry(&elements.set.id).or_default();
            of_set.extend(elements.stored().map(|element| (element, service)));
        }
    }
    all
}

/// An element, and its service.
pub(super) type Owned<'a> = (StoredElement<'a>, Option<&'a ServiceName>);

/// A set with its elements, and their services. An element of several services belongs to the last.
pub(super) fn filled(set: Set, mut elements: Vec<Owned<'_>>) -> (Set, Vec<Option<ServiceName>>) {
    elements.sort_unstable_by(|(a, of), (b, other)| a.key.cmp(b.key).then_with(|| other.cmp(of)));
    elements.dedup_by(|(later, _), (first, _)| later.key == first.key);
    let owners = elements.iter().map(|(_, service)| service.cloned()).collect();
    let element = |(stored, _): (StoredElement<'_>, _)| (stored.key(), Element { data: stored.data() });
    let elements = elements.into_iter().map(element).collect();
    (Set { elements, ..set }, owners)
}

/// The rules, with the names of sets with sizes.
pub(super) fn rename(rules: &[Rule], renamed: &Renamed) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    if !renamed.is_empty() {
        for statement in rules.iter_mut().flat_map(|rule| &mut rule.0) {
            if let Some(set) = statement.set_mut()
                && let Some(name) = renamed.get(set)
            {
                *set = name.clone();
            }
        }
    }
    rules
}

/// Whether rules look up one of these sets.
pub(super) fn refers(rules: &[Rule], sets: &BTreeSet<&SetName>) -> bool {
    rules
        .iter()
        .flat_map(|rule| &rule.0)
        .any(|statement| statement.set().is_some_and(|set| sets.contains(set)))
}
