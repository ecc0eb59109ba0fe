//! [`RefCounts`]: numbers of fragments with an element, before and after a change.

use sluice_nft::Key;

use crate::render::fragment::Elements;

/// Numbers of fragments with an element.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RefCounts {
    pub(super) before: u32,
    pub(super) after: u32,
}

/// The numbers for the elements of changed fragments, sorted by key: a first rendering has hundreds of thousands.
#[derive(Debug, Default)]
pub(super) struct RefCountsByKey(Vec<(Key, RefCounts)>);

impl RefCountsByKey {
    /// Counts elements of removed and of new fragments. `recorded` returns the number before, if the program records it: it
    /// does not for elements with a single reference.
    pub(super) fn of(old: &[&Elements], new: &[&Elements], recorded: impl Fn(&Key) -> Option<u32>) -> Self {
        let references = |all: &[&'_ Elements]| all.iter().map(|elements| elements.len()).sum::<usize>();
        let mut keys = Vec::with_capacity(references(old) + references(new));
        for (all, is_new) in [(old, false), (new, true)] {
            keys.extend(all.iter().flat_map(|elements| elements.stored()).map(|stored| (stored.key, is_new)));
        }
        keys.sort_unstable();
        let counts = keys.chunk_by(|(a, _), (b, _)| a == b).filter_map(|references| {
            let key = Key::new(references[0].0)?;
            let removed = references.iter().filter(|(_, is_new)| !is_new).count() as u32;
            let added = references.len() as u32 - removed;
            let before = recorded(&key).unwrap_or(removed.min(1));
            Some((key, RefCounts { before, after: before - removed + added }))
        });
        RefCountsByKey(counts.collect())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&RefCounts> {
        let found = self.0.binary_search_by(|(other, _)| other.cmp(key));
        found.ok().map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut RefCounts> {
        let found = self.0.binary_search_by(|(other, _)| other.cmp(key));
        found.ok().map(|at| &mut self.0[at].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Key, RefCounts)> {
        self.0.iter()
    }
}

impl IntoIterator for RefCountsByKey {
    type Item = (Key, RefCounts);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
