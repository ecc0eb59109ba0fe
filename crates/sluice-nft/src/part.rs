//! A part of a table, for example the objects that steps change.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Chain, ChainName, Key, Set, SetName, Step, Table};

/// Some chains, and some elements of some sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Chains, with all their rules.
    pub chains: BTreeSet<ChainName>,
    /// Sets, with their declarations and the elements with these keys.
    pub sets: BTreeMap<SetName, BTreeSet<Key>>,
}

impl Part {
    /// The objects that these steps change, without the table itself and stateful objects.
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        let mut part = Part::default();
        for step in steps {
            match step {
                Step::AddTable | Step::DeleteTable | Step::DeleteObject(_) => {}
                Step::AddSet(name, _) | Step::DeleteSet(name) => part.set(name, []),
                Step::AddChain(name, _)
                | Step::DeleteChain(name)
                | Step::AddRule(name, _)
                | Step::FlushChain(name) => {
                    part.chains.insert(name.clone());
                }
                Step::AddElements(of, elements) | Step::DeleteElements(of, elements) => {
                    part.set(&of.name, elements.iter().map(|(key, _)| *key));
                }
            }
        }
        part
    }

    fn set(&mut self, name: &SetName, keys: impl IntoIterator<Item = Key>) {
        self.sets.entry(name.clone()).or_default().extend(keys);
    }

    /// Number of chains, sets and elements.
    pub fn len(&self) -> usize {
        self.chains.len() + self.sets.len() + self.sets.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Whether it has no chains and no sets.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }
}

impl Table {
    /// The objects of a part that exist in the table.
    #[must_use]
    pub fn part(&self, part: &Part) -> Table {
        let chain = |name: &ChainName| Some((name.clone(), self.chains.get(name)?.clone()));
        let set =
            |(name, keys): (&SetName, &BTreeSet<Key>)| Some((name.clone(), self.sets.get(name)?.part(keys)));
        Table {
            chains: part.chains.iter().filter_map(chain).collect::<BTreeMap<_, Chain>>(),
            sets: part.sets.iter().filter_map(set).collect(),
            dormant: self.dormant,
            ..Table::default()
        }
    }
}

impl Set {
    /// The set with only the elements with these keys.
    fn part(&self, keys: &BTreeSet<Key>) -> Set {
        let elements = keys.iter().filter_map(|key| Some((*key, self.elements.get(key)?.clone()))).collect();
        Set { elements, ..self.declaration_only() }
    }

    /// The same set without its elements.
    #[must_use]
    pub fn declaration_only(&self) -> Set {
        let Set { key, data, size, counter, flags, elements: _ } = self;
        let (key, data) = (key.clone(), data.clone());
        let (size, counter, flags) = (*size, *counter, *flags);
        Set { key, data, size, counter, flags, elements: BTreeMap::new() }
    }
}
