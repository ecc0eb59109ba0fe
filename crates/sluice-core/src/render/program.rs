//! [`Program`]: the table as the sum of its fragments, with reference counts. The reconciler owns it and
//! applies a delta to it after each commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sluice_nft::{Chain, ChainName, Element, Key, Rule, Set, SetName, Table};

use super::ambiguous::AmbiguousFlows;
use super::answers::AnswerCounts;
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
    pub(super) references: ReferenceFilter,
    pub(super) chains: BTreeMap<ChainId, ChainState>,
    pub(super) hooks: Hooks,
    pub(super) totals: Totals,
    pub(super) assembled: BTreeMap<ChainId, Chain>,
    pub(super) ambiguous: AmbiguousFlows,
    pub(super) answer_counts: AnswerCounts,
    pub(super) stripes_in_use: StripeAllocator,
    /// Numbers of affinity groups.
    pub groups: GroupNumbers,
}

/// Values by the key of an element. The hash function of the standard library took a tenth of the time of a rendering.
pub(super) type KeyMap<V> = HashMap<Key, V, FixedState>;

/// Numbers of fragments with an element, by a hash of its key, for sets that several fragments fill. It shows
/// that no other fragment has an element, with a few bytes per element, so that the fragments need not be
/// searched for it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReferenceFilter(pub(super) HashMap<u32, u32, FixedState>);

impl ReferenceFilter {
    /// Whether more fragments than these may have the element. `false` is certain.
    pub(super) fn may_have_more(&self, key: &Key, than: u32) -> bool {
        // Other elements may have the same hash.
        self.0.get(&hash(key)).is_some_and(|count| *count > than)
    }

    pub(super) fn change(&mut self, key: &Key, before: u32, after: u32) {
        let count = self.0.entry(hash(key)).or_default();
        *count = count.saturating_sub(before) + after;
        if *count == 0 {
            self.0.remove(&hash(key));
        }
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
        Set { size: self.size.or(declaration.size), ..declaration }
    }
}

/// Whether the table has a set of the fragments. The sets for midstream packets exist only if the rules look them up.
pub(super) fn is_live(id: &SetId, totals: &Totals) -> bool {
    use SetId::*;
    match id {
        Adopted(_) => matches!(totals.midstream(), Arriving::Mixed { .. }),
        Ignored(_) => totals.midstream() == Arriving::Mixed { by_rule: true },
        Services(_) | Answers(_) | EarlyAnswers(_) | Guarded(_) | UnknownClients(_) | Syns(_)
        | Proxied(_) | InvalidRequests(_) | InvalidReplies(_) | Invalid(_) | OnLink(_) | SameInterface
        | Clients(..) | Bound(..) | Learn(_) | Source(_) | OwnSource(..) | Slots(..) | Stripes(..)
        | Networks(..) | Dropped(..) | Limit(..) => true,
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
            SetId::Clients(kind, ip) => Some((Clients { name: state.name(), ip, kind }, state.declaration())),
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
        let mut owners = Owners::new(self.fragments.0.keys().flatten());
        let named = self.fragments.0.values().skip_while(|fragments| fragments[0].service().is_none());
        let named = (1..).zip(named).flat_map(|(place, of)| of.iter().map(move |fragment| (place, fragment)));
        let host = self.of_service(&None).iter().map(|fragment| (0, fragment));
        let mut elements = gather(host.chain(named), |id| is_live(id, &self.totals));
        for state in self.live() {
            let elements = elements.remove(&state.set.id).unwrap_or_default();
            let (set, places) = filled(state.declaration(), elements);
            owners.by_set.insert(state.name(), places);
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

/// An element, and the [place](Owners) of its service.
pub(super) type Owned<'a> = (StoredElement<'a>, u32);

/// Elements of sets for which `is_included`. Fragments in the order of their listeners have elements that are almost
/// sorted, because most keys begin with the listener.
pub(super) fn gather<'a>(
    fragments: impl Iterator<Item = (u32, &'a Fragment)>,
    is_included: impl Fn(&SetId) -> bool,
) -> BTreeMap<&'a SetId, Vec<Owned<'a>>> {
    let mut fragments: Vec<_> = fragments.map(|(place, of)| (of.destination(), place, of)).collect();
    fragments.sort_by_key(|(destination, ..)| *destination);
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for (_, place, fragment) in fragments {
        for elements in fragment.elements.iter().filter(|elements| is_included(&elements.set.id)) {
            // The elements of this map do not belong to one service.
            let place = if matches!(elements.set.id, SetId::Learn(_)) { 0 } else { place };
            let of_set = all.entry(&elements.set.id).or_default();
            of_set.extend(elements.stored().map(|element| (element, place)));
        }
    }
    all
}

/// A set with its elements, and the places of their services. An element of several services belongs to the last.
pub(super) fn filled(set: Set, mut elements: Vec<Owned<'_>>) -> (Set, Vec<u32>) {
    elements.sort_by(|(a, of), (b, other)| a.key.cmp(b.key).then_with(|| other.cmp(of)));
    elements.dedup_by(|(later, _), (first, _)| later.key == first.key);
    let places = elements.iter().map(|(_, place)| *place).collect();
    let element = |(stored, _): (StoredElement<'_>, _)| (stored.key(), Element { data: stored.data() });
    let elements = elements.into_iter().map(element).collect();
    (Set { elements, ..set }, places)
}

/// The rules, with the names of sets with sizes.
pub(super) fn rename(rules: &[Rule], renamed: &Renamed) -> Vec<Rule> {
    let mut rules = rules.to_vec();
    for statement in rules.iter_mut().flat_map(|rule| &mut rule.0) {
        if let Some(set) = statement.set_mut()
            && let Some(name) = renamed.get(set)
        {
            *set = name.clone();
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
