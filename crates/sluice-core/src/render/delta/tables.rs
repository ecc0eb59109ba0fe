//! The part of the table that a delta changes, before and after.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Chain, Table};

use super::{Delta, SetChange};
use crate::render::fragment::{Fragment, StoredElement};
use crate::render::names::{ChainId, SetId};
use crate::render::owner::Owners;
use crate::render::program::{Program, chains, filled, gather, refers};

impl Delta {
    /// The part of the table that changes, before and after it, and the services of the elements after it.
    pub(crate) fn tables<'a>(&'a self, program: &'a Program) -> (Table, Table, Owners) {
        let (mut before, mut after) = (Table::default(), Table::default());
        let moves_retained = |id: &SetId| self.sets.get(id).is_some_and(SetChange::moves_retained);
        // There are many of them, and most deltas do not need them.
        let retained: Vec<_> = match self.sets.values().any(SetChange::moves_retained) {
            true => program.retained(self).collect(),
            false => vec![],
        };
        let changed = self.fragments.keys().flatten();
        let services: BTreeSet<_> = retained.iter().filter_map(|of| of.service()).chain(changed).collect();
        let mut owners = Owners::new(services.into_iter());
        let placed = |fragment: &'a Fragment| (owners.place(fragment.service()), fragment);
        let moved = gather(retained.iter().copied().map(placed), moves_retained);
        let old = gather(program.removed(self).map(placed), |_| true);
        let new = gather(self.added().map(placed), |_| true);
        for (id, change) in &self.sets {
            let [moved, old, new] =
                [&moved, &old, &new].map(|all| all.get(id).into_iter().flatten().cloned());
            // An element of other fragments, too, is in the set before and after, if the set keeps its name.
            let is_common = id.has_common_elements() && change.name_before == change.name_after;
            let ref_counts = |element: &StoredElement<'_>| {
                change.ref_counts.get(&element.key()).filter(|_| is_common).copied().unwrap_or_default()
            };
            if let (Some(name), Some(state)) = (&change.name_before, program.sets.get(id)) {
                let had = new.clone().filter(|(element, _)| ref_counts(element).before > 0);
                let all = moved.clone().chain(old.clone()).chain(had).collect();
                before.sets.insert(name.clone(), filled(state.declaration(), all).0);
            }
            if let Some(name) = &change.name_after {
                let kept = old.filter(|(element, _)| ref_counts(element).after > 0);
                let (set, places) =
                    filled(change.state.declaration(), moved.chain(new).chain(kept).collect());
                owners.by_set.insert(name.clone(), places);
                after.sets.insert(name.clone(), set);
            }
        }
        self.chains(program, &retained, &mut before, &mut after);
        (before, after, owners)
    }

    /// Adds the changed chains, including those that refer to a set with another name.
    fn chains(&self, program: &Program, retained: &[&Fragment], before: &mut Table, after: &mut Table) {
        let names_before = program.renamed();
        let mut names_after = names_before.clone();
        let mut renamed = BTreeSet::new();
        for change in self.sets.values() {
            let name = &change.state.set.name;
            names_after.remove(name);
            let other_name = change.name_after.iter().filter(|after| *after != name);
            names_after.extend(other_name.map(|after| (name.clone(), after.clone())));
            if names_before.get(name) != names_after.get(name) {
                renamed.insert(name);
            }
        }
        let others = program.chains.values().map(|state| &*state.chain).filter(|chain| {
            !renamed.is_empty() && !self.chains.contains_key(&chain.id) && refers(&chain.rules, &renamed)
        });
        let retained =
            retained.iter().flat_map(|fragment| &fragment.own).filter(|(_, rules)| refers(rules, &renamed));
        let assembled = self.assembled.as_ref().unwrap_or(&program.assembled);
        let differs = |chains: &BTreeMap<ChainId, Chain>, id: &ChainId, chain: &Chain| {
            chains.get(id) != Some(chain) || refers(&chain.rules, &renamed)
        };
        let changed = self.chains.values().map(|state| &*state.chain);
        let own = program.removed(self).flat_map(|fragment| &fragment.own).chain(retained.clone());
        let shared = changed.filter(|chain| program.chains.contains_key(&chain.id)).chain(others.clone());
        let common = program.assembled.iter().filter(|(id, chain)| differs(assembled, id, chain));
        before.chains = chains(own, shared, common, &names_before);
        let own = self.added().flat_map(|fragment| &fragment.own).chain(retained);
        let changed = self.chains.values().filter(|state| state.refs > 0).map(|state| &*state.chain);
        let common = assembled.iter().filter(|(id, chain)| differs(&program.assembled, id, chain));
        after.chains = chains(own, changed.chain(others), common, &names_after);
    }
}
