//! Applies a delta to the program, after the kernel has committed it.

use std::sync::Arc;

use super::{Delta, RefCounts, SetChange};
use crate::render::layout::Map;
use crate::render::program::Program;

impl Program {
    /// Replaces the fragments that the delta changes, and all that the program derives from them.
    pub(crate) fn apply(&mut self, delta: Delta) {
        let Delta { fragments, sets, chains, hooks, totals, assembled, ambiguous, answer_counts, is_part: _ } =
            delta;
        for fragment in
            fragments.keys().filter_map(|service| self.fragments.0.get(service)).flat_map(|old| old.iter())
        {
            fragment.stripe.iter().for_each(|stripe| self.stripes_in_use.free(stripe));
            if let Some(listener) = fragment.affinity_key() {
                self.groups.0.remove(&listener);
            }
        }
        for (id, SetChange { state, ref_counts, .. }) in sets {
            if let Some(map) = Map::of(&id) {
                match state.set.declaration.size.filter(|_| state.refs > 0) {
                    Some(size) => self.stripes_in_use.record(map, size, state.count as u32),
                    None => self.stripes_in_use.remove(map),
                }
            }
            if id.has_common_elements() {
                self.references.0.reserve(ref_counts.len());
                for (key, RefCounts { before, after }) in ref_counts {
                    self.references.change(&key, before, after);
                }
            }
            if state.refs > 0 { drop(self.sets.insert(id, state)) } else { drop(self.sets.remove(&id)) }
        }
        for (id, state) in chains {
            if state.refs > 0 { drop(self.chains.insert(id, state)) } else { drop(self.chains.remove(&id)) }
        }
        for fragment in fragments.values().flat_map(|new| new.iter()) {
            fragment.stripe.iter().for_each(|stripe| self.stripes_in_use.mark_used(stripe));
            self.groups.0.extend(fragment.affinity_key().zip(fragment.group));
        }
        let kept = &mut Arc::make_mut(&mut self.fragments).0;
        if kept.is_empty() {
            *kept = fragments;
        } else {
            for (service, new) in fragments {
                if new.is_empty() { drop(kept.remove(&service)) } else { drop(kept.insert(service, new)) }
            }
        }
        self.hooks = hooks.unwrap_or_else(|| std::mem::take(&mut self.hooks));
        self.assembled = assembled.unwrap_or_else(|| std::mem::take(&mut self.assembled));
        self.ambiguous = ambiguous.unwrap_or_else(|| std::mem::take(&mut self.ambiguous));
        self.answer_counts.apply(answer_counts);
        self.totals = totals;
    }
}
