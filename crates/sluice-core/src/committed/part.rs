//! A change of a few listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_nft::{ChainName, Filling, Key, Set, SetName, SetType, Statement, Table};

use super::Committed;
use super::usage::{References, SourceKey};
use crate::diff::diff;
use crate::model::Source;
use crate::plan::Plan;
use crate::render::entry::Entry;
use crate::render::{Rendered, capacity, names, render_own};

/// What some listeners need before and after a change, and that part of the table before and after it.
#[derive(Debug)]
pub(super) struct Part<'a> {
    old: (Vec<Entry<'a>>, Rendered),
    new: (Vec<Entry<'a>>, Rendered),
    before: Table,
    after: Table,
    /// How many listeners need an element of a constant rule at postrouting after it.
    keys: BTreeMap<SourceKey, u32>,
}

impl<'a> Part<'a> {
    /// `None` if the change concerns what all listeners share: a set grows out of its size, or base chains change.
    pub(super) fn new(committed: &Committed, old: Vec<Entry<'a>>, new: Vec<Entry<'a>>) -> Option<Self> {
        let Committed { layout, usage, .. } = committed;
        let rendered = |entries: &[Entry<'_>]| render_own(entries, layout, usage.claims(), usage.midstream());
        let (was, is) = (rendered(&old), rendered(&new));
        let sources = sources(&committed.table.sets, &old, &new);
        let keys = committed.usage.keys(&old, &new, |(source, key)| {
            let mut sets = sources.iter().filter(|(_, of)| *of == source).map(|(name, _)| name);
            sets.any(|name| committed.table.sets[name].elements.contains_key(key))
        });
        let mut part =
            Part { old: (old, was), new: (new, is), before: Table::default(), after: Table::default(), keys };
        part.sets(&committed.table, &sources)?;
        part.chains(committed);
        Some(part)
    }

    /// What they were rendered to before the change.
    pub(super) fn rendered_before(&self) -> &Rendered {
        &self.old.1
    }

    pub(super) fn plan(&self) -> Plan {
        diff(Some(&self.before), Some(&self.after), &self.new.1.origins)
    }

    pub(super) fn apply(self, committed: &mut Committed) {
        let Part { old: (old, _), new: (new, _), before, after, keys } = self;
        let table = &mut committed.table;
        for (name, set) in &before.sets {
            match table.sets.get_mut(name) {
                Some(held) if after.sets.contains_key(name) => {
                    set.elements.keys().for_each(|key| drop(held.elements.remove(key)));
                }
                _ => drop(table.sets.remove(name)),
            }
        }
        for (name, set) in &after.sets {
            let held = table.sets.entry(name.clone()).or_insert_with(|| set.declaration_only());
            held.elements.extend(set.elements.iter().map(|(key, element)| (*key, element.clone())));
        }
        before.chains.keys().for_each(|name| drop(table.chains.remove(name)));
        table.chains.extend(after.chains.iter().map(|(name, chain)| (name.clone(), chain.clone())));
        Arc::make_mut(&mut committed.layout).follow(&before, table, &after);
        committed.usage.follow((&old, &new), keys, (&before, &after));
    }

    /// The sets they need, with the elements they need.
    fn sets(&mut self, table: &Table, sources: &BTreeMap<SetName, Source>) -> Option<()> {
        let (was, is) = (&self.old.1.table.sets, &self.new.1.table.sets);
        let declared: BTreeMap<&SetName, &Set> = was.iter().chain(is).collect();
        for (name, declared) in declared {
            // Those that rules fill are there for as long as the rules are.
            if declared.is_learned() {
                continue;
            }
            let source = sources.get(name);
            let stays = |key: &Key| {
                let count = source.and_then(|source| self.keys.get(&(*source, *key)));
                count.is_some_and(|count| *count > 0)
            };
            let held = table.sets.get(name);
            let (mut before, mut after) = (declared.declaration_only(), declared.declaration_only());
            for key in
                [was, is].into_iter().filter_map(|sets| sets.get(name)).flat_map(|set| set.elements.keys())
            {
                if let Some(element) = held.and_then(|held| held.elements.get(key)) {
                    before.elements.insert(*key, element.clone());
                    if stays(key) {
                        after.elements.insert(*key, element.clone());
                    }
                }
            }
            let needed = is.get(name).into_iter().flat_map(|set| &set.elements);
            after.elements.extend(needed.map(|(key, element)| (*key, element.clone())));

            let held_count = held.map_or(0, |held| held.elements.len());
            let count = held_count - before.elements.len() + after.elements.len();
            let added = after.elements.keys().filter(|key| !before.elements.contains_key(key)).count();
            let led_to_by_base_chains = names::is_constant(name) || declared.data == SetType::Verdicts;
            if led_to_by_base_chains && (held.is_none() || count == 0) {
                return None;
            }
            if held.is_some() {
                self.before.sets.insert(name.clone(), before);
            }
            if count > 0 {
                // What is added is there beside what is not deleted yet.
                let has_room =
                    |size| capacity::suits(size, count as u32) && held_count + added <= size as usize;
                if declared.filling == Filling::Keys && !declared.size.is_some_and(has_room) {
                    return None;
                }
                self.after.sets.insert(name.clone(), after);
            }
        }
        Some(())
    }

    /// The chains they need; shared ones stay for as long as something leads to them.
    fn chains(&mut self, Committed { table, usage, .. }: &Committed) {
        let (was, is) = (&self.old.1.table.chains, &self.new.1.table.chains);
        let touched: BTreeSet<&ChainName> = was.keys().chain(is.keys()).collect();
        let there = touched.into_iter().filter_map(|name| table.chains.get_key_value(name));
        self.before.chains.extend(there.map(|(name, chain)| (name.clone(), chain.clone())));
        self.after.chains.clone_from(is);
        let before = References::of(&self.before);
        loop {
            let after = References::of(&self.after);
            let kept = self.before.chains.iter().find(|(name, _)| {
                !self.after.chains.contains_key(*name) && usage.leading_to(name, &before, &after) > 0
            });
            let Some((name, chain)) = kept else { break };
            let (name, chain) = (name.clone(), chain.clone());
            self.after.chains.insert(name, chain);
        }
        for (chains, sets, known) in [
            (&self.before.chains, &mut self.before.sets, table),
            (&self.after.chains, &mut self.after.sets, &self.new.1.table),
        ] {
            let rules = chains.values().flat_map(|chain| &chain.rules);
            for name in rules.flat_map(|rule| &rule.0).filter_map(Statement::set) {
                let set =
                    known.sets.get(name).or_else(|| table.sets.get(name)).filter(|set| set.is_learned());
                sets.extend(set.map(|set| (name.clone(), set.clone())));
            }
        }
    }
}

/// Sources of these listeners by the sets of the constant rules.
fn sources(sets: &BTreeMap<SetName, Set>, old: &[Entry<'_>], new: &[Entry<'_>]) -> BTreeMap<SetName, Source> {
    let sources: BTreeSet<_> = old.iter().chain(new).map(|entry| (entry.service.source, entry.ip)).collect();
    let named: Vec<_> =
        sources.into_iter().map(|(source, ip)| (names::source_of(source, ip), source)).collect();
    let of_source = |set: &SetName| {
        let (_, source) = named.iter().find(|(name, _)| capacity::is_called(set, name))?;
        Some((set.clone(), *source))
    };
    sets.keys().filter_map(of_source).collect()
}
