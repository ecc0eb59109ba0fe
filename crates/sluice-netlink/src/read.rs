//! Consistent reads of our table, as a whole or in part.

use std::collections::{BTreeMap, HashMap};

use nix::errno::Errno;
use sluice_nft::{Counter, Counters, Data, Key, Part, ReadError, Set, SetName, Snapshot, Table};

use crate::dump::{Reader, Stop, attempts, failed};
use crate::watch::TableWatch;

/// The whole table as of one moment: no other program changed it during the read.
pub(crate) fn whole(reader: &mut Reader<'_>, watch: &mut TableWatch) -> Result<Snapshot, ReadError> {
    steady(|| {
        let snapshot = reader.whole()?;
        let now = match reader.generation()? {
            now if now == snapshot.generation => Some(now),
            // The first call subscribes to events, so that the next attempt can tell.
            _ => watch
                .unchanged_since(reader.socket, snapshot.generation)
                .map_err(|errno| failed("listen to commits", errno))?,
        };
        now.map(|generation| Snapshot { generation, ..snapshot }).ok_or(Stop::Changed)
    })
}

/// A part of the table; `None` if the table does not exist.
pub(crate) fn part(reader: &mut Reader<'_>, part: &Part) -> Result<Option<Table>, ReadError> {
    steady(|| reader.part(part))
}

/// The counters of a set.
pub(crate) fn counters(reader: &mut Reader<'_>, name: &SetName) -> Result<Vec<(Key, Counter)>, ReadError> {
    // A set that does not exist has no counters.
    steady(|| match reader.declaration(name)? {
        Some(_) => reader.counters(name),
        None => Ok(vec![]),
    })
}

/// The elements that rules added to a set.
pub(crate) fn learned(
    reader: &mut Reader<'_>,
    name: &SetName,
    set: &Set,
) -> Result<Vec<(Key, Data)>, ReadError> {
    let elements = steady(|| match reader.declaration(name)? {
        Some(_) => reader.elements(name, set, &HashMap::new()).map(|(elements, _)| elements),
        None => Ok(BTreeMap::new()),
    })?;
    Ok(elements.into_iter().map(|(key, element)| (key, element.data)).collect())
}

/// The sets of our table with counters.
pub(crate) fn counted_sets(reader: &mut Reader<'_>) -> Result<Vec<SetName>, ReadError> {
    let counted = |(name, set): (SetName, Set)| set.counter.then_some(name);
    steady(|| match reader.header()? {
        Some(_) => Ok(reader.declarations()?.0.into_iter().filter_map(counted).collect()),
        None => Ok(vec![]),
    })
}

/// Repeats a read until the table does not change during it.
fn steady<T>(mut read: impl FnMut() -> Result<T, Stop>) -> Result<T, ReadError> {
    for _ in attempts() {
        match read() {
            Ok(read) => return Ok(read),
            Err(Stop::Changed) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Err(changing())
}

fn changing() -> ReadError {
    let operation = format!("read table {} while it changes", Table::NAME);
    ReadError { operation, errno: sluice_nft::Errno(Errno::EINTR as i32) }
}

impl Reader<'_> {
    /// The whole table, and the generation before the read.
    fn whole(&mut self) -> Result<Snapshot, Stop> {
        let generation = self.generation()?;
        let Some(header) = self.header()? else {
            return Ok(Snapshot { generation, ..Snapshot::default() });
        };
        let mut table = self.table(header)?;
        let mut counters = Counters::new();
        let names = table.chains.keys().map(|name| (name.as_str(), name.clone())).collect();
        // Elements of sets with a foreign declaration cannot be decoded.
        let ours = |set: &Set| !set.key.is_empty() && !set.is_dynamic();
        for (name, set) in table.sets.iter_mut().filter(|(_, set)| ours(set)) {
            let (elements, counts) = self.elements(name, set, &names)?;
            set.elements = elements;
            if !counts.is_empty() {
                counters.insert(name.clone(), counts);
            }
        }
        Ok(Snapshot { table: Some(table), counters, flags: header.flags, generation })
    }

    fn part(&mut self, part: &Part) -> Result<Option<Table>, Stop> {
        let Some(header) = self.header()? else { return Ok(None) };
        let mut table = Table { dormant: header.dormant, ..Table::default() };
        for name in &part.chains {
            if let Some(chain) = self.chain(name)? {
                table.chains.insert(name.clone(), chain);
            }
        }
        for (name, keys) in &part.sets {
            if let Some(mut set) = self.declaration(name)? {
                if !set.key.is_empty() && !set.is_dynamic() {
                    let keys: Vec<_> = keys.iter().copied().collect();
                    set.elements = self.elements_of(name, &set, &keys)?;
                }
                table.sets.insert(name.clone(), set);
            }
        }
        Ok(Some(table))
    }
}
