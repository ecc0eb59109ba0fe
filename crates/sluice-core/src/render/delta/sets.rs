//! The sets that a delta changes: numbers of references, numbers of elements, and sizes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::Table;

use super::ref_counts::{RefCounts, RefCountsByKey};
use super::{Delta, SetChange};
use crate::render::capacity;
use crate::render::fragment::{DeclaredSet, Elements};
use crate::render::names::SetId;
use crate::render::program::{KeyMap, Program, SetState, is_live};

impl Program {
    /// The sets whose elements, name or existence change.
    pub(super) fn set_changes(&self, delta: &Delta, current: Option<&Table>) -> BTreeMap<SetId, SetChange> {
        let mut changed = BTreeMap::<&SetId, ChangedSet<'_>>::new();
        for elements in self.removed(delta).flat_map(|fragment| &fragment.elements) {
            let changed = changed.entry(&elements.set.id).or_insert_with(|| self.unchanged(&elements.set));
            changed.refs -= 1;
            changed.retained -= 1;
            changed.old.push(elements);
        }
        for elements in delta.added().flat_map(|fragment| &fragment.elements) {
            let changed = changed.entry(&elements.set.id).or_insert_with(|| self.unchanged(&elements.set));
            changed.refs += 1;
            changed.new.push(elements);
        }
        for (id, changed) in changed.iter_mut().filter(|(id, _)| id.has_common_elements()) {
            let (old, new) = (std::mem::take(&mut changed.old), std::mem::take(&mut changed.new));
            let common = self.common.get(id);
            changed.ref_counts = RefCountsByKey::of(&old, &new, |key| common?.get(key).copied());
        }
        if delta.totals.midstream() != self.totals.midstream() {
            for state in self.sets.values() {
                if is_live(&state.set.id, &self.totals) != is_live(&state.set.id, &delta.totals) {
                    changed.entry(&state.set.id).or_insert_with(|| self.unchanged(&state.set));
                }
            }
        }
        self.count_retained(delta, &mut changed);
        let change = |(id, changed): (&SetId, _)| (id.clone(), self.set_change(changed, delta, current));
        changed.into_iter().map(change).collect()
    }

    fn unchanged<'a>(&self, set: &'a Arc<DeclaredSet>) -> ChangedSet<'a> {
        let refs = self.sets.get(&set.id).map_or(0, |set| set.refs);
        ChangedSet {
            set,
            refs,
            retained: refs,
            old: vec![],
            new: vec![],
            ref_counts: RefCountsByKey::default(),
        }
    }

    /// Searches the retained fragments for new elements: the program does not record elements with a single reference.
    fn count_retained(&self, delta: &Delta, changed: &mut BTreeMap<&SetId, ChangedSet<'_>>) {
        let may_be_retained = |changed: &ChangedSet<'_>| {
            changed
                .ref_counts
                .iter()
                .any(|(key, ref_counts)| ref_counts.before == 0 && self.key_filter.may_contain(key))
        };
        let mut searched: BTreeMap<_, _> = changed
            .iter_mut()
            .filter(|(id, changed)| id.has_common_elements() && may_be_retained(changed))
            .map(|(id, changed)| (*id, &mut changed.ref_counts))
            .collect();
        if searched.is_empty() {
            return;
        }
        for elements in self.retained(delta).flat_map(|fragment| &fragment.elements) {
            let Some(ref_counts) = searched.get_mut(&elements.set.id) else { continue };
            for key in elements.keys() {
                if let Some(ref_counts) = ref_counts.get_mut(&key).filter(|ref_counts| ref_counts.before == 0)
                {
                    *ref_counts = RefCounts { before: 1, after: ref_counts.after + 1 };
                }
            }
        }
    }

    fn set_change(&self, changed: ChangedSet<'_>, delta: &Delta, current: Option<&Table>) -> SetChange {
        let (added, removed) = changed.added_and_removed();
        let ChangedSet { set, refs, retained, new, ref_counts, .. } = changed;
        let count_before = self.sets.get(&set.id).map_or(0, |before| before.count);
        let before = self.sets.get(&set.id).filter(|_| is_live(&set.id, &self.totals));
        let is_live = refs > 0 && is_live(&set.id, &delta.totals);
        let count = count_before + added - removed;
        let has_room = |size| match current {
            Some(table) => {
                let held = table.sets.get(&set.named(Some(size)))?;
                // Nothing is removed: a program with another table is a new one.
                let added_keys = new
                    .iter()
                    .copied()
                    .flat_map(Elements::keys)
                    .chain(ref_counts.iter().map(|(key, _)| *key));
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

/// A set that changes.
struct ChangedSet<'a> {
    set: &'a Arc<DeclaredSet>,
    /// Number of fragments with elements in it after the change, and of those that do not change.
    refs: usize,
    retained: usize,
    /// Elements of removed and of new fragments, if each element is in one fragment only.
    old: Vec<&'a Elements>,
    new: Vec<&'a Elements>,
    /// The same if several fragments may have an element.
    ref_counts: RefCountsByKey,
}

impl ChangedSet<'_> {
    /// Numbers of elements that are added to the set and removed from it.
    fn added_and_removed(&self) -> (usize, usize) {
        let count = |all: &[&Elements]| all.iter().map(|elements| elements.len()).sum::<usize>();
        // The first rendering has no old elements to compare.
        let kept = match self.old.is_empty() {
            true => 0,
            false => {
                let old = self.old.iter().copied().flat_map(Elements::keys).map(|key| (key, ()));
                let old: KeyMap<()> = old.collect();
                self.new.iter().copied().flat_map(Elements::keys).filter(|key| old.contains_key(key)).count()
            }
        };
        let count_of = |test: fn(&RefCounts) -> bool| {
            self.ref_counts.iter().filter(|(_, ref_counts)| test(ref_counts)).count()
        };
        (
            count(&self.new) - kept + count_of(|ref_counts| ref_counts.before == 0),
            count(&self.old) - kept + count_of(|ref_counts| ref_counts.after == 0),
        )
    }
}
