//! Last counts of the elements that a commit deletes.
//!
//! If requested, the kernel reports each deleted element with its last count to the sender (an echo). This misses only
//! packets that another CPU is processing at that moment, between lookup and count. The kernel stores all echoes until
//! the end of the commit, some kilobytes per element, so they are requested only for as many elements as fit into the
//! receive buffer. For more elements, and for whole sets, for which there are no echoes, the counts are read just before
//! the commit, and packets in between are lost. Both happen in the last batch of a plan, when no packet matches these
//! elements any more.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::{Counter, Counters, Key, ReadError, SetName, Step};

use crate::dump::Reader;
use crate::{element, read};

/// Bytes of the receive buffer per echoed element.
pub(crate) const ECHO: usize = 512;

/// Size of the receive buffer to request.
pub(crate) const ROOM: usize = 8 << 20;

/// Counts of the elements that a commit deletes.
pub(crate) struct Deleted {
    counters: Counters,
    /// Sets whose counts were read before the commit.
    known: BTreeSet<SetName>,
    /// Whether to request echoes.
    pub(crate) echo: bool,
}

impl Deleted {
    /// Reads the counts that must be read before the commit. For `DeleteTable` a read that fails is ignored. `room` is the
    /// size of the receive buffer for echoes.
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
                // Best effort: lost counts must not keep the table from being deleted.
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

    /// Adds the counts in an echo.
    pub(crate) fn record(&mut self, event: &[u8]) {
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
