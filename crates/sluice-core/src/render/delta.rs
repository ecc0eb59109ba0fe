//! Differences between a program and other fragments of some services, and what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sluice_nft::{Chain, Key, Rule, SetName, Table};

use super::ambiguous::AmbiguousFlows;
use super::assembly::{AssemblyInput, assemble};
use super::capacity;
use super::fragment::{DeclaredSet, Draft, Elements, Fragment, Pool};
use super::layout::Map;
use super::names::{ChainId, SetId};
use super::program::{ChainState, Hooks, Program, SetState, chains, filled, gather, is_live, refers};
use super::source;
use super::totals::Totals;
use crate::model::{Networks, ServiceName};
use crate::render::owner::Owners;

/// What is different about a program, and what follows from that.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// New fragments of the services that have others; none: the service is gone.
    fragments: BTreeMap<Option<ServiceName>, Arc<[Fragment]>>,
    sets: BTreeMap<SetId, SetChange>,
    chains: BTreeMap<ChainId, ChainState>,
    hooks: Option<Hooks>,
    totals: Totals,
    assembled: Option<BTreeMap<ChainId, Chain>>,
    /// Those of all frontends, if they are others.
    pub(super) ambiguous: Option<AmbiguousFlows>,
}

/// A set that has other elements or another name.
#[derive(Debug)]
struct SetChange {
    after: SetState,
    /// Its name in the kernel before and after, if it is there.
    before: Option<SetName>,
    now: Option<SetName>,
    /// Number of fragments that need it before and after.
    staying: usize,
    /// Elements of fragments that go or come, where several fragments may need one.
    needs: HashMap<Key, Needs>,
}

/// How many fragments need an element.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    before: u32,
    after: u32,
}

impl Program {
    /// What follows from other fragments of some services on a host with these networks. `current` is what the kernel
    /// holds if that is not this program.
    pub(super) fn delta(
        &self,
        mut fragments: BTreeMap<Option<ServiceName>, Arc<[Fragment]>>,
        networks: &Networks,
        pool: &mut Pool<'_>,
        current: Option<&Table>,
    ) -> Delta {
        fragments.retain(|service, new| self.of_service(service) != &**new);
        let mut totals = self.totals.clone();
        for (service, new) in &fragments {
            let traits = |fragment: &Fragment| fragment.traits;
            self.of_service(service).iter().filter_map(traits).for_each(|traits| totals.count(traits, -1));
            new.iter().filter_map(traits).for_each(|traits| totals.count(traits, 1));
        }
        let mut host = Draft::new(None, pool);
        source::near(&mut host, totals.sources(), networks);
        let host: Arc<[Fragment]> =
            [host.finish()].into_iter().filter(|host| !host.elements.is_empty()).collect();
        if self.of_service(&None) != &*host {
            fragments.insert(None, host);
        }
        let mut delta = Delta { fragments, totals, ..Delta::default() };
        delta.sets = self.set_changes(&delta, current);
        delta.chains = self.chain_changes(&delta);
        delta.hooks = self.other_hooks(&delta);
        let other_totals = delta.totals != self.totals;
        if delta.hooks.is_some() || other_totals || delta.sets.values().any(SetChange::comes_or_goes) {
            delta.assembled = Some(self.assemble(&delta)).filter(|assembled| *assembled != self.assembled);
        }
        delta
    }

    fn of_service(&self, service: &Option<ServiceName>) -> &[Fragment] {
        self.fragments.0.get(service).map_or(&[], |fragments| fragments)
    }

    /// Fragments that stay.
    fn staying<'a>(&'a self, delta: &'a Delta) -> impl Iterator<Item = &'a Fragment> {
        let services = self.fragments.0.iter().filter(|(service, _)| !delta.fragments.contains_key(*service));
        services.flat_map(|(_, fragments)| fragments.iter())
    }

    /// Fragments that go.
    fn old<'a>(&'a self, delta: &'a Delta) -> impl Iterator<Item = &'a Fragment> {
        delta.fragments.keys().flat_map(|service| self.of_service(service))
    }

    fn set_changes(&self, delta: &Delta, current: Option<&Table>) -> BTreeMap<SetId, SetChange> {
        let mut touched = BTreeMap::<&SetId, Touched<'_>>::new();
        for elements in self.old(delta).flat_map(|fragment| &fragment.elements) {
            let touched = touched.entry(&elements.set.id).or_insert_with(|| self.untouched(&elements.set));
            touched.refs -= 1;
            touched.staying -= 1;
            touched.old.push(elements);
        }
        for elements in delta.coming().flat_map(|fragment| &fragment.elements) {
            let touched = touched.entry(&elements.set.id).or_insert_with(|| self.untouched(&elements.set));
            touched.refs += 1;
            touched.new.push(elements);
        }
        for (id, touched) in touched.iter_mut().filter(|(id, _)| id.has_common_elements()) {
            for key in std::mem::take(&mut touched.old).into_iter().flat_map(Elements::keys) {
                self.needs(id, touched, key, 1).after -= 1;
            }
            for key in std::mem::take(&mut touched.new).into_iter().flat_map(Elements::keys) {
                self.needs(id, touched, key, 0).after += 1;
            }
        }
        if delta.totals.midstream() != self.totals.midstream() {
            for state in self.sets.values() {
                if is_live(&state.set.id, &self.totals) != is_live(&state.set.id, &delta.totals) {
                    touched.entry(&state.set.id).or_insert_with(|| self.untouched(&state.set));
                }
            }
        }
        self.search(delta, &mut touched);
        let change = |(id, touched): (&SetId, _)| (id.clone(), self.set_change(touched, delta, current));
        touched.into_iter().map(change).collect()
    }

    fn untouched<'a>(&self, set: &'a Arc<DeclaredSet>) -> Touched<'a> {
        let refs = self.sets.get(&set.id).map_or(0, |set| set.refs);
        Touched { set, refs, staying: refs, old: vec![], new: vec![], needs: HashMap::new() }
    }

    /// Needs of an element before anything changes, of which so many are known where they are not kept.
    fn needs<'t>(&self, id: &SetId, touched: &'t mut Touched<'_>, key: Key, known: u32) -> &'t mut Needs {
        touched.needs.entry(key).or_insert_with(|| {
            let kept = self.common.get(id).and_then(|common| common.get(&key));
            let before = kept.copied().unwrap_or(known);
            Needs { before, after: before }
        })
    }

    /// Searches the fragments that stay for elements which come. Needs of one alone are not kept.
    fn search(&self, delta: &Delta, touched: &mut BTreeMap<&SetId, Touched<'_>>) {
        let may_be_there = |touched: &Touched<'_>| {
            touched.needs.iter().any(|(key, needs)| needs.before == 0 && self.key_filter.may_contain(key))
        };
        let mut searched: BTreeMap<_, _> = touched
            .iter_mut()
            .filter(|(id, touched)| id.has_common_elements() && may_be_there(touched))
            .map(|(id, touched)| (*id, &mut touched.needs))
            .collect();
        if searched.is_empty() {
            return;
        }
        for elements in self.staying(delta).flat_map(|fragment| &fragment.elements) {
            let Some(needs) = searched.get_mut(&elements.set.id) else { continue };
            for held in elements.iter() {
                if let Some(needs) = needs.get_mut(&held.key).filter(|needs| needs.before == 0) {
                    *needs = Needs { before: 1, after: needs.after + 1 };
                }
            }
        }
    }

    fn set_change(&self, touched: Touched<'_>, delta: &Delta, current: Option<&Table>) -> SetChange {
        let (added, removed) = touched.exchanged();
        let Touched { set, refs, staying, new, needs, .. } = touched;
        let held = self.sets.get(&set.id).map_or(0, |before| before.count);
        let before = self.sets.get(&set.id).filter(|_| is_live(&set.id, &self.totals));
        let is_live = refs > 0 && is_live(&set.id, &delta.totals);
        let count = held + added - removed;
        let has_room = |size| match current {
            Some(table) => {
                let held = table.sets.get(&set.named(Some(size)))?;
                let common = needs.iter().filter(|(_, needs)| needs.after > 0).map(|(key, _)| *key);
                let coming = new.iter().copied().flat_map(Elements::keys).chain(common);
                Some(capacity::has_room(size, held, count, coming))
            }
            None => before.filter(|before| before.size == Some(size)).map(|_| held + added <= size as usize),
        };
        let size = is_live.then(|| capacity::size(&set.declaration, count, has_room)).flatten();
        let after = SetState { set: set.clone(), refs, count, size };
        let (before, now) = (before.map(SetState::name), is_live.then(|| after.name()));
        SetChange { after, before, now, staying, needs }
    }

    fn chain_changes(&self, delta: &Delta) -> BTreeMap<ChainId, ChainState> {
        let mut chains = BTreeMap::new();
        let new = delta.coming().flat_map(|fragment| &fragment.shared).map(|chain| (chain, 1));
        let old = self.old(delta).flat_map(|fragment| &fragment.shared).map(|chain| (chain, -1));
        for (chain, by) in new.chain(old) {
            let state = chains.entry(chain.id.clone()).or_insert_with(|| {
                let known = self.chains.get(&chain.id).cloned();
                known.unwrap_or_else(|| ChainState { chain: chain.clone(), refs: 0 })
            });
            state.refs = state.refs.saturating_add_signed(by);
        }
        chains
    }

    fn other_hooks(&self, delta: &Delta) -> Option<Hooks> {
        let (old, new) = (hooks(self.old(delta)), hooks(delta.coming()));
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
            // Several listeners may learn the same on one port.
            if !matches!(chain, ChainId::LearnPort(..)) || !rules.contains(rule) {
                rules.push((**rule).clone());
            }
        }
        let set = |id: &SetId| match delta.sets.get(id) {
            Some(change) => change.now.as_ref().map(|_| change.after.set.name.clone()),
            None => {
                self.sets.get(id).filter(|_| is_live(id, &delta.totals)).map(|state| state.set.name.clone())
            }
        };
        assemble(&AssemblyInput { set: &set, totals: &delta.totals, hooks })
    }

    /// Takes a change over.
    pub(crate) fn apply(&mut self, delta: Delta) {
        let Delta { fragments, sets, chains, hooks, totals, assembled, ambiguous } = delta;
        for fragment in
            fragments.keys().filter_map(|service| self.fragments.0.get(service)).flat_map(|old| old.iter())
        {
            fragment.stripe.iter().for_each(|stripe| self.stripes_in_use.free(stripe));
            if let Some(listener) = fragment.affinity_key() {
                self.groups.0.remove(&listener);
            }
        }
        for (id, SetChange { after, needs, .. }) in sets {
            if let Some(map) = Map::of(&id) {
                match after.set.declaration.size.filter(|_| after.refs > 0) {
                    Some(size) => self.stripes_in_use.record(map, size, after.count as u32),
                    None => self.stripes_in_use.remove(map),
                }
            }
            let common = self.common.entry(id.clone()).or_default();
            for (key, Needs { before, after }) in needs {
                self.key_filter.change(&key, after as i32 - before as i32);
                match after {
                    0 | 1 => common.remove(&key),
                    _ => common.insert(key, after),
                };
            }
            if common.is_empty() {
                self.common.remove(&id);
            }
            if after.refs > 0 { drop(self.sets.insert(id, after)) } else { drop(self.sets.remove(&id)) }
        }
        for (id, after) in chains {
            if after.refs > 0 { drop(self.chains.insert(id, after)) } else { drop(self.chains.remove(&id)) }
        }
        let kept = Arc::make_mut(&mut self.fragments);
        for (service, new) in fragments {
            for fragment in new.iter() {
                fragment.stripe.iter().for_each(|stripe| self.stripes_in_use.mark_used(stripe));
                self.groups.0.extend(fragment.affinity_key().zip(fragment.group));
            }
            if new.is_empty() { drop(kept.0.remove(&service)) } else { drop(kept.0.insert(service, new)) }
        }
        self.hooks = hooks.unwrap_or_else(|| std::mem::take(&mut self.hooks));
        self.assembled = assembled.unwrap_or_else(|| std::mem::take(&mut self.assembled));
        self.ambiguous = ambiguous.unwrap_or_else(|| std::mem::take(&mut self.ambiguous));
        self.totals = totals;
    }
}

/// What happens to a set.
struct Touched<'a> {
    set: &'a Arc<DeclaredSet>,
    /// Number of fragments that need it after, and before and after.
    refs: usize,
    staying: usize,
    /// Elements of fragments that go and of those that come, where each element is needed by one fragment.
    old: Vec<&'a Elements>,
    new: Vec<&'a Elements>,
    /// The same where several fragments may need one.
    needs: HashMap<Key, Needs>,
}

impl Touched<'_> {
    /// Number of elements that are added to the set, and of those that are removed.
    fn exchanged(&self) -> (usize, usize) {
        let count = |all: &[&Elements]| all.iter().map(|elements| elements.len()).sum::<usize>();
        // Without old ones, as when everything is rendered, nothing has to be compared.
        let kept = match self.old.is_empty() {
            true => 0,
            false => {
                let old: HashSet<Key> = self.old.iter().copied().flat_map(Elements::keys).collect();
                self.new.iter().copied().flat_map(Elements::keys).filter(|key| old.contains(key)).count()
            }
        };
        let count_of = |test: fn(&Needs) -> bool| self.needs.values().filter(|needs| test(needs)).count();
        let added = count(&self.new) - kept + count_of(|needs| needs.before == 0 && needs.after > 0);
        (added, count(&self.old) - kept + count_of(|needs| needs.before > 0 && needs.after == 0))
    }
}

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
    /// Fragments that come.
    fn coming(&self) -> impl Iterator<Item = &Fragment> {
        self.fragments.values().flat_map(|fragments| fragments.iter())
    }

    /// Services whose counters may be deleted; `None`: those of any.
    pub(crate) fn services(&self) -> Option<impl DoubleEndedIterator<Item = &Option<ServiceName>>> {
        let is_part = self.sets.values().all(|set| !set.is_whole());
        is_part.then(|| self.fragments.keys())
    }

    /// The part of the table that changes, before and after it, and the services of the elements after it.
    pub(crate) fn tables(&self, program: &Program) -> (Table, Table, Owners) {
        let (mut before, mut after, mut owners) = (Table::default(), Table::default(), Owners::new());
        let is_whole = |id: &SetId| self.sets.get(id).is_some_and(SetChange::is_whole);
        // Many, and only needed then.
        let stay: Vec<_> = match self.sets.values().any(SetChange::is_whole) {
            true => program.staying(self).collect(),
            false => vec![],
        };
        let stay_in_whole = gather(stay.iter().copied(), is_whole);
        let (old, new) = (gather(program.old(self), |_| true), gather(self.coming(), |_| true));
        for (id, change) in &self.sets {
            let [stay, old, new] =
                [&stay_in_whole, &old, &new].map(|all| all.get(id).into_iter().flatten().cloned());
            // What others need, too, is there before and after, in a set that stays.
            let is_common = id.has_common_elements() && change.before == change.now;
            let needs = |key: &Key| change.needs.get(key).filter(|_| is_common).copied().unwrap_or_default();
            if let (Some(name), Some(state)) = (&change.before, program.sets.get(id)) {
                let had = new.clone().filter(|(key, ..)| needs(key).before > 0);
                let all = stay.clone().chain(old.clone()).chain(had).collect();
                before.sets.insert(name.clone(), filled(state.declaration(), all).0);
            }
            if let Some(name) = &change.now {
                let kept = old.filter(|(key, ..)| needs(key).after > 0);
                let (set, of_set) = filled(change.after.declaration(), stay.chain(new).chain(kept).collect());
                owners.insert(name.clone(), of_set);
                after.sets.insert(name.clone(), set);
            }
        }
        self.chains(program, &stay, &mut before, &mut after);
        (before, after, owners)
    }

    fn chains(&self, program: &Program, stay: &[&Fragment], before: &mut Table, after: &mut Table) {
        let was = program.renamed();
        let mut is = was.clone();
        let mut moved = BTreeSet::new();
        for change in self.sets.values() {
            let name = &change.after.set.name;
            is.remove(name);
            is.extend(change.now.iter().filter(|now| *now != name).map(|now| (name.clone(), now.clone())));
            if was.get(name) != is.get(name) {
                moved.insert(name);
            }
        }
        let others = program.chains.values().map(|state| &*state.chain).filter(|chain| {
            !moved.is_empty() && !self.chains.contains_key(&chain.id) && refers(&chain.rules, &moved)
        });
        let stay = stay.iter().flat_map(|fragment| &fragment.own).filter(|(_, rules)| refers(rules, &moved));
        let assembled = self.assembled.as_ref().unwrap_or(&program.assembled);
        let differs = |chains: &BTreeMap<ChainId, Chain>, id: &ChainId, chain: &Chain| {
            chains.get(id) != Some(chain) || refers(&chain.rules, &moved)
        };
        let touched = self.chains.values().map(|state| &*state.chain);
        let own = program.old(self).flat_map(|fragment| &fragment.own).chain(stay.clone());
        let shared = touched.filter(|chain| program.chains.contains_key(&chain.id)).chain(others.clone());
        let common = program.assembled.iter().filter(|(id, chain)| differs(assembled, id, chain));
        before.chains = chains(own, shared, common, &was);
        let own = self.coming().flat_map(|fragment| &fragment.own).chain(stay);
        let touched = self.chains.values().filter(|state| state.refs > 0).map(|state| &*state.chain);
        let common = assembled.iter().filter(|(id, chain)| differs(&program.assembled, id, chain));
        after.chains = chains(own, touched.chain(others), common, &is);
    }
}

impl SetChange {
    fn comes_or_goes(&self) -> bool {
        self.before.is_some() != self.now.is_some()
    }

    /// Whether elements of fragments that stay as they are go elsewhere.
    fn is_whole(&self) -> bool {
        self.staying > 0 && self.before != self.now
    }
}
