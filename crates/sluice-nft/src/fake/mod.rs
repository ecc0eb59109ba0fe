//! [`FakeKernel`]: a ruleset in memory that behaves like the kernel. It rejects what the kernel rejects, with the same
//! error, and applies a commit as a whole or not at all. As of Linux 6.18; the crate sluice-conformance runs the same
//! cases on both.

mod check;
mod transaction;

use std::collections::BTreeMap;

use crate::trace::{Host, Packet, Trace, Tracer};
use crate::{
    CommitError, Counter, Counters, Data, Dataplane, Errno, Key, Part, ReadError, Receipt, Set, SetName,
    Snapshot, Step, Table, TableFlags, generation_after,
};

/// A [`Dataplane`] for tests.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    state: State,
    generation: u32,
    tracer: Tracer,
    commits: Vec<Vec<Step>>,
    /// Injected errors, by the number of the commit.
    faults: BTreeMap<usize, Errno>,
    tried: usize,
    /// Injected errors of the next reads, last to first.
    read_faults: Vec<Errno>,
    reads: Reads,
    /// Generation of the last change of the table by another program.
    touched: u32,
}

/// Number of reads of a [`FakeKernel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Reads of the whole table.
    pub whole: usize,
    /// Reads of a part of it.
    pub parts: usize,
    /// Reads of the counters of a set.
    pub counters: usize,
}

/// The state that a commit changes.
#[derive(Clone, Debug, Default)]
struct State {
    table: Option<Table>,
    counters: Counters,
}

impl FakeKernel {
    /// A kernel without the table, on a host with these addresses.
    pub fn new(host: Host) -> Self {
        FakeKernel { tracer: Tracer::new(host), ..Self::default() }
    }

    /// A kernel with a table.
    pub fn with_table(table: Table) -> Self {
        let mut kernel = Self::default();
        kernel.edit(|held| *held = Some(table));
        kernel
    }

    /// The current table.
    pub fn table(&self) -> Option<&Table> {
        self.state.table.as_ref()
    }

    /// Changes the table as another program. Nothing is checked; elements that stay keep their counts.
    pub fn edit(&mut self, change: impl FnOnce(&mut Option<Table>)) {
        change(&mut self.state.table);
        self.edit_elsewhere();
        self.touched = self.generation;
        self.state.counters = counters_of(self.state.table.as_ref(), &self.state.counters);
    }

    /// Changes the table without a new generation, as no commit would: a fault.
    pub fn corrupt(&mut self, change: impl FnOnce(&mut Table)) {
        self.state.table.as_mut().map(change);
        self.state.counters = counters_of(self.state.table.as_ref(), &self.state.counters);
    }

    /// Changes another table as another program.
    pub fn edit_elsewhere(&mut self) {
        self.generation = generation_after(self.generation);
    }

    /// Runs the first packet of a flow through the ruleset and counts it in the elements that it matches.
    pub fn send(&mut self, packet: &Packet) -> Trace {
        let nothing = Table::default();
        let trace = self.tracer.trace(self.state.table.as_ref().unwrap_or(&nothing), packet);
        for (set, key) in trace.visits.iter().filter_map(|visit| visit.element.as_ref()) {
            if let Some(counter) = self.state.counters.get_mut(set).and_then(|set| set.get_mut(key)) {
                counter.packets += 1;
                counter.bytes += packet.length();
            }
        }
        trace
    }

    /// The tracer with its round-robin counters, for traces that do not count.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// All successful commits, first to last, without empty ones.
    pub fn commits(&self) -> &[Vec<Step>] {
        &self.commits
    }

    /// Makes the `nth` commit from now fail, where 0 is the next; empty ones do not count.
    pub fn fail_commit(&mut self, nth: usize, errno: Errno) {
        self.faults.insert(self.tried + nth, errno);
    }

    /// Makes the next `count` reads of any kind fail.
    pub fn fail_reads(&mut self, count: usize, errno: Errno) {
        self.read_faults.extend(std::iter::repeat_n(errno, count));
    }

    /// Number of reads, including failed ones.
    pub fn reads(&self) -> Reads {
        self.reads
    }

    fn fault(&mut self) -> Result<(), ReadError> {
        match self.read_faults.pop() {
            Some(errno) => Err(ReadError { operation: "read".to_owned(), errno }),
            None => Ok(()),
        }
    }
}

impl Dataplane for FakeKernel {
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        self.reads.whole += 1;
        self.fault()?;
        let State { table, counters } = self.state.clone();
        Ok(Snapshot { table, counters, flags: TableFlags::default(), generation: self.generation })
    }

    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        self.reads.parts += 1;
        self.fault()?;
        Ok(self.table().map(|table| table.part(part)))
    }

    fn counters(&mut self, name: &SetName, _: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        self.reads.counters += 1;
        self.fault()?;
        let counters = self.state.counters.get(name).into_iter().flatten();
        Ok(counters.map(|(key, counter)| (*key, *counter)).collect())
    }

    /// Always empty: packets do not fill sets of the fake.
    fn dynamic_elements(&mut self, _: &SetName, _: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        Ok(vec![])
    }

    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        let known = (self.touched..=self.generation).contains(&generation);
        Ok(known.then_some(self.generation))
    }

    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        if steps.is_empty() {
            return Ok(Receipt { generation: planned_from, ..Receipt::default() });
        }
        self.tried += 1;
        let refused = |errno| CommitError { operation: "commit a batch".to_owned(), errno };
        if let Some(errno) = self.faults.remove(&(self.tried - 1)) {
            return Err(refused(errno));
        }
        // As in the kernel, 0 means any generation.
        if planned_from.is_some_and(|planned| planned != 0 && planned != self.generation) {
            return Err(refused(Errno::ERESTART));
        }
        let done = transaction::run(&self.state, steps)?;
        self.state = done.state;
        done.rewritten.iter().for_each(|chain| self.tracer.reset_counters(chain));
        if done.changed {
            self.generation = generation_after(self.generation);
        }
        self.commits.push(steps.to_vec());
        Ok(Receipt { generation: planned_from.map(|_| self.generation), deleted: done.deleted })
    }
}

/// The counters of all elements with one: the known count, otherwise 0.
fn counters_of(table: Option<&Table>, known: &Counters) -> Counters {
    let counted = table.into_iter().flat_map(|table| &table.sets).filter(|(_, set)| set.counter);
    counted
        .map(|(name, set)| {
            let known = known.get(name);
            let counter = |key| known.and_then(|known| known.get(key)).copied().unwrap_or_default();
            (
                name.clone(),
                set.elements.keys().map(|key| (*key, counter(key))).collect::<BTreeMap<_, Counter>>(),
            )
        })
        .filter(|(_, counters)| !counters.is_empty())
        .collect()
}
