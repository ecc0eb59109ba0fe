//! What more than one listener may need, so that it goes with the last of them.

use std::collections::{BTreeMap, HashMap};

use sluice_nft::{ChainName, Data, Ip, Key, Statement, Table};

use crate::model::{Service, Source};
use crate::render::entry::Entry;
use crate::render::midstream;
use crate::render::names;
use crate::render::reset;
use crate::render::source::{self, Claims};

/// Who needs what.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// How often something leads to a chain that listeners share.
    chains: References,
    /// How many listeners need an element of a constant rule at postrouting, if more than one.
    keys: HashMap<SourceKey, u32>,
    /// Flows that are not simply masqueraded.
    claims: Claims,
    midstream: midstream::Counts,
}

/// An element of a constant rule at postrouting: sets of several sources can hold the same key.
pub(super) type SourceKey = (Source, Key);

/// How often elements and rules lead to shared chains.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<ChainName, i64>);

impl Usage {
    pub(super) fn of(entries: &[Entry<'_>], table: &Table) -> Self {
        let claims = Claims::of(entries);
        let mut keys: Vec<_> = entries.iter().flat_map(|entry| source_keys(entry, &claims)).collect();
        keys.sort_unstable();
        let same = keys.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
        let keys = same.map(|same| (same[0], same.len() as u32)).collect();
        let mut chains = References::default();
        chains.count(table, 1);
        Usage { chains, keys, claims, midstream: midstream::Counts::of(entries) }
    }

    /// Whether going from `old` to `new` listeners changes nothing of what is said about all listeners at once:
    /// rules of the base chains, and which flows the constant rule at postrouting can tell apart.
    pub(super) fn is_local(&self, old: &[Entry<'_>], new: &[Entry<'_>], table: &Table) -> bool {
        let entries = || old.iter().chain(new);
        let disputed = |entry: &Entry<'_>| {
            let address = entry.exact_destination();
            entry.members().any(|b| address.is_some_and(|at| self.claims.dispute(entry, at, b)))
        };
        let claiming = entries().any(Entry::claims);
        let one_by_one = table.chains.contains_key(&names::source());
        // Where all keep their source alike, nothing is to be told apart.
        let keeps_alike = |entry: &Entry<'_>| {
            let source = entry.service.source;
            let own = Ip::ALL.map(|ip| names::source_of(source, ip));
            let mut others = table.sets.keys().filter(|set| names::is_source(set));
            source.keeps() && others.all(|set| own.iter().any(|own| set.as_str().starts_with(own.as_str())))
        };
        let resets = |entries: &[Entry<'_>]| entries.iter().filter(|entry| reset::resets(entry)).count();
        if resets(old) != resets(new) || self.midstream.form() != self.after(old, new).form() {
            return false;
        }
        same_frames(old, new)
            || entries().all(|entry| {
                let Service { affinity, guard, synproxy, .. } = entry.service;
                entry.exact().is_some() && affinity.is_none() && guard.is_none() && !synproxy
            }) && !(claiming && !entries().all(keeps_alike) && !same_claims(old, new))
                && !(claiming && one_by_one)
                && !entries().any(disputed)
    }

    /// How many listeners do what with connections that conntrack does not know, when these make way for those.
    fn after(&self, old: &[Entry<'_>], new: &[Entry<'_>]) -> midstream::Counts {
        let mut counts = self.midstream;
        old.iter().for_each(|entry| counts.remove(entry));
        new.iter().for_each(|entry| counts.add(entry));
        counts
    }

    /// What is done with connections that conntrack does not know.
    pub(super) fn midstream(&self) -> midstream::Form {
        self.midstream.form()
    }

    /// All flows that are not simply masqueraded.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// How many listeners need an element, now that these need it no longer and those do.
    pub(super) fn keys(
        &self,
        old: &[Entry<'_>],
        new: &[Entry<'_>],
        is_there: impl Fn(&SourceKey) -> bool,
    ) -> BTreeMap<SourceKey, u32> {
        let mut counts = BTreeMap::new();
        let now = |key: &SourceKey| self.keys.get(key).copied().unwrap_or(u32::from(is_there(key)));
        for (entries, by) in [(new, 1), (old, -1)] {
            for key in entries.iter().flat_map(|entry| source_keys(entry, &self.claims)) {
                let count: &mut u32 = counts.entry(key).or_insert_with(|| now(&key));
                *count = count.saturating_add_signed(by);
            }
        }
        counts
    }

    /// How often something leads to a chain when this takes the place of that.
    pub(super) fn leading_to(&self, chain: &ChainName, before: &References, after: &References) -> i64 {
        let of = |references: &References| references.0.get(chain).copied().unwrap_or(0);
        of(&self.chains) - of(before) + of(after)
    }

    pub(super) fn follow(
        &mut self,
        (old, new): (&[Entry<'_>], &[Entry<'_>]),
        keys: BTreeMap<SourceKey, u32>,
        (before, after): (&Table, &Table),
    ) {
        for (key, count) in keys {
            match count {
                0 | 1 => drop(self.keys.remove(&key)),
                _ => drop(self.keys.insert(key, count)),
            }
        }
        self.chains.count(before, -1);
        self.chains.count(after, 1);
        self.chains.0.retain(|_, count| *count != 0);
        self.midstream = self.after(old, new);
        old.iter().for_each(|entry| self.claims.remove(entry));
        new.iter().for_each(|entry| self.claims.add(entry));
    }
}

impl References {
    pub(super) fn of(table: &Table) -> Self {
        let mut references = References::default();
        references.count(table, 1);
        references
    }

    fn count(&mut self, table: &Table, by: i64) {
        let elements = table.sets.values().flat_map(|set| set.elements.values());
        let by_element = elements.filter_map(|element| match &element.data {
            Data::Goto(chain) => Some(chain),
            Data::Value(_) | Data::Through(_) | Data::None => None,
        });
        let statements = table.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.0);
        let by_rule = statements.filter_map(|statement| match statement {
            Statement::Goto(chain) | Statement::Jump(chain) => Some(chain),
            _ => None,
        });
        for chain in by_element.chain(by_rule).filter(|chain| !names::is_private(chain)) {
            match self.0.get_mut(chain) {
                Some(count) => *count += by,
                None => drop(self.0.insert(chain.clone(), by)),
            }
        }
    }
}

fn source_keys<'a>(entry: &'a Entry<'_>, claims: &Claims) -> impl Iterator<Item = SourceKey> + use<'a> {
    source::keys(entry, claims).into_iter().map(|key| (entry.service.source, key))
}

/// Whether all that differs is how new flows are shared: listeners and backends are the same.
fn same_frames(old: &[Entry<'_>], new: &[Entry<'_>]) -> bool {
    let same = |a: &Entry<'_>, b: &Entry<'_>| {
        let frame = |entry: &Entry<'_>| (entry.listener, entry.ip, entry.service.source);
        let members =
            |entry: &Entry<'_>| -> Vec<_> { entry.members().map(|b| (b.address, b.port)).collect() };
        a.name == b.name
            && frame(a) == frame(b)
            && a.service.interface == b.service.interface
            && a.service.guard == b.service.guard
            && a.service.affinity == b.service.affinity
            && a.service.synproxy == b.service.synproxy
            && a.service.midstream == b.service.midstream
            && members(a) == members(b)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b))
}

fn same_claims(old: &[Entry<'_>], new: &[Entry<'_>]) -> bool {
    let claims = |entries: &[Entry<'_>]| {
        let mut claims: Vec<_> = entries.iter().flat_map(source::claims).collect();
        claims.sort_unstable();
        claims
    };
    claims(old) == claims(new)
}
