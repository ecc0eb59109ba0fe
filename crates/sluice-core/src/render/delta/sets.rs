//! The sets that a delta changes: numbers of references, numbers of elements, and sizes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{Key, Table};

use super::{Delta, RefCounts, SetChange};
use crate::render::capacity;
use crate::render::fragment::{DeclaredSet, Elements};
use crate::render::names::SetId;
use crate::render::program::{KeyMap, Program, SetState, is_live};

impl Program {
    /// The sets whose elements, name or existence change.
    pub(super) fn set_changes(&self, delta: &Delta, current: Option<&Table>) -> BTreeMap<SetId, SetChange> {
        let mut changed = BTreeMap::<&SetId, ChangedSet<'_>>::new();
        let old = self.removed(delta).map(|fragment| (fragment, false));
        let new = delta.added().map(|fragment| (fragment, true));
        for (fragment, is_new) in old.chain(new) {
            for elements in &fragment.elements {
                let set = changed.entry(&elements.set.id).or_insert_with(|| ChangedSet::new(&elements.set));
                if is_new { set.new.push(elements) } else { set.old.push(elements) }
            }
        }
        if delta.totals.midstream() != self.totals.midstream() {
            for state in self.sets.values() {
                if is_live(&state.set.id, &self.totals) != is_live(&state.set.id, &delta.totals) {
                    changed.entry(&state.set.id).or_insert_with(|| ChangedSet::new(&state.set));
                }
            }
        }
        changed.values_mut().for_each(ChangedSet::count_references);
        self.count_retained(delta, &mut changed);
        let change = |(id, changed): (&SetId, _)| (id.clone(), self.set_change(changed, delta, current));
        changed.into_iter().map(change).collect()
    }

    /// Searches the retained fragments for elements that they may have, too.
    fn count_retained(&self, delta: &Delta, changed: &mut BTreeMap<&SetId, ChangedSet<'_>>) {
        let is_searched =
            |(key, counts): (&Key, &RefCounts)| self.references.may_have_more(key, counts.before);
        let common = changed.iter_mut().filter(|(id, _)| id.has_common_elements());
        let searched = common.filter(|(_, changed)| changed.ref_counts.iter().any(is_searched));
        let mut searched: BTreeMap<_, _> =
            searched.map(|(id, changed)| (*id, &mut changed.ref_counts)).collect();
        if searched.is_empty() {
            return;
        }
        for elements in self.retained(delta).flat_map(|fragment| &fragment.elements) {
            let Some(ref_counts) = searched.get_mut(&elements.set.id) else { continue };
            for key in elements.keys() {
                if let Some(RefCounts { before, after }) = ref_counts.get_mut(&key) {
                    *before += 1;
                    *after += 1;
                }
            }
        }
    }

    fn set_change(&self, changed: ChangedSet<'_>, delta: &Delta, current: Option<&Table>) -> SetChange {
        let (added, removed) = changed.added_and_removed();
        let ChangedSet { set, old, new, ref_counts } = changed;
        let known = self.sets.get(&set.id);
        let (refs_before, count_before) = known.map_or((0, 0), |known| (known.refs, known.count));
        let retained = refs_before - old.len();
        let refs = retained + new.len();
        let before = known.filter(|_| is_live(&set.id, &self.totals));
        let is_live = refs > 0 && is_live(&set.id, &delta.totals);
        let count = count_before + added - removed;
        let has_room = |size| match current {
            Some(table) => {
                let held = table.sets.get(&set.named(Some(size)))?;
                // Nothing is removed: a program with another table is a new one.
                let uncounted = new.iter().copied().filter(|_| ref_counts.is_empty());
                let added_keys = ref_counts.keys().copied().chain(uncounted.flat_map(Elements::keys));
                Some(capacity::has_room(size, held, count, added_keys))
            }
            None => before
                .filter(|before| before.size == Some(size))
                .map(|_| count_before + added <= size as usize),
        };
        let size = is_live.then(|| capacity::size(&set.declaration, count, has_room)).flatten();
        let state = SetState { set: set.clone(), refs, count, size };
        let (name_before, name_after) = (before.map(SetState::name), is_live.then(|| state.name()));
        SetChange { state, name_before, name_after, retained, ref_counts }
    }
}

/// A set that changes, with its elements in removed and in new fragments.
struct ChangedSet<'a> {
    set: &'a Arc<DeclaredSet>,
    old: Vec<&'a Elements>,
    new: Vec<&'a Elements>,
    ref_counts: KeyMap<RefCounts>,
}

impl<'a> ChangedSet<'a> {
    fn new(set: &'a Arc<DeclaredSet>) -> Self {
        ChangedSet { set, old: vec![], new: vec![], ref_counts: KeyMap::default() }
    }

    /// Counts the references to each element, unless all elements are new and each is in one fragment only.
    fn count_references(&mut self) {
        if self.old.is_empty() && !self.set.id.has_common_elements() {
            return;
        }
        self.ref_counts.reserve(len(&self.old).max(len(&self.new)));
        for key in self.old.iter().flat_map(|elements| elements.keys()) {
            self.ref_counts.entry(key).or_default().before += 1;
        }
        for key in self.new.iter().flat_map(|elements| elements.keys()) {
            self.ref_counts.entry(key).or_default().after += 1;
        }
    }

    /// Numbers of elements that are added to the set and removed from it.
    fn added_and_removed(&self) -> (usize, usize) {
        if self.ref_counts.is_empty() {
            return (len(&self.new), 0);
        }
        let count =
            |test: fn(&RefCounts) -> bool| self.ref_counts.values().filter(|counts| test(counts)).count();
        (count(|counts| counts.before == 0), count(|counts| counts.after == 0))
    }
}

fn len(all: &[&Elements]) -> usize {
    all.iter().map(|elements| elements.stored().len()).sum()
}
