//! What the elements counted that a commit deletes.
//!
//! The kernel tells the sender of each element that it deletes, with its last count, if that asks for it: nothing
//! goes uncounted but a packet that another CPU has in hand just then, between lookup and count. It keeps all it is
//! going to tell until the end, some kilobytes for each element, so we ask for so many only as we can take. Of more
//! elements, and of whole sets, of which it does not tell, counts are read just before: what they count between is
//! lost. Both come last in a plan, when no packet meets them any more.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Counter, Counters, Key, ReadError, SetName, Step};

use crate::dump::Reader;
use crate::{element, read};

/// Room in the receive buffer that an element takes.
pub(crate) const ECHO: usize = 512;

/// Room for the elements that are worth it.
pub(crate) const ROOM: usize = 8 << 20;

/// Counts of what a commit deletes.
pub(crate) struct Deleted {
    counters: Counters,
    /// Sets whose counts were read before.
    known: BTreeSet<SetName>,
    /// Whether the kernel is to tell of elements.
    pub(crate) echo: bool,
}

impl Deleted {
    /// Reads what has to be read before the commit, of a table that is deleted as much as can be read; of elements the kernel can tell as many as fit into `room`
    /// bytes.
    pub(crate) fn before(reader: &mut Reader<'_>, steps: &[Step], room: usize) -> Result<Self, ReadError> {
        let counted = || {
            steps.iter().filter_map(|step| match step {
                Step::DeleteElements(of, gone) if of.declaration.counter => Some((&of.name, gone)),
                _ => None,
            })
        };
        let echo = counted().map(|(_, gone)| gone.len()).sum::<usize>() <= room / ECHO;
        let mut deleted = Deleted { counters: Counters::new(), known: BTreeSet::new(), echo };
        for step in steps {
            match step {
                // Best effort: a table that is to go goes, whatever it counted.
                Step::DeleteTable => {
                    for name in read::counted_sets(reader).unwrap_or_default() {
                        let _ = deleted.read(reader, &name, |_| true);
                    }
                }
                Step::DeleteSet(name) => deleted.read(reader, name, |_| true)?,
                _ => {}
            }
        }
        if !echo {
            let mut sets: BTreeMap<&SetName, BTreeSet<&Key>> = BTreeMap::new();
            for (name, gone) in counted() {
                sets.entry(name).or_default().extend(gone.iter().map(|(key, _)| key));
            }
            for (name, gone) in sets {
                deleted.read(reader, name, |key| gone.contains(key))?;
            }
        }
        Ok(deleted)
    }

    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        name: &SetName,
        goes: impl Fn(&Key) -> bool,
    ) -> Result<(), ReadError> {
        if self.known.insert(name.clone()) {
            for (key, counter) in read::counters(reader, name)?.into_iter().filter(|(key, _)| goes(key)) {
                self.add(name, key, counter);
            }
        }
        Ok(())
    }

    /// Takes what the kernel tells of a commit.
    pub(crate) fn hear(&mut self, event: &[u8]) {
        let mut counts = Vec::new();
        let name = element::deleted(event, &mut counts).map(SetName::from);
        if let Some(name) = name.filter(|name| !self.known.contains(name)) {
            counts.into_iter().for_each(|(key, counter)| self.add(&name, key, counter));
        }
    }

    pub(crate) fn counters(self) -> Counters {
        self.counters
    }

    fn add(&mut self, set: &SetName, key: Key, counter: Counter) {
        if !counter.is_zero() {
            *self.counters.entry(set.clone()).or_default().entry(key).or_default() += counter;
        }
    }
}
