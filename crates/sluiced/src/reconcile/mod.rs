//! One round: plan, commit, read back.
//!
//! What was committed is kept in memory and mostly planned from. The kernel is read as a whole when somebody
//! else may have touched the table, at the start, at a refresh, and after a round that failed.

mod affinity_eviction;
mod error;
pub mod forwarding;
mod inventory;
pub mod namespace_lock;
mod outcome;
pub mod timings;
mod trigger;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_api::Timestamp;
use sluice_core::diff::diff;
use sluice_core::flows::Found;
use sluice_core::model::{InForce, ServiceName};
use sluice_core::plan::{Batch, Plan, Purpose};
use sluice_core::render::owner::Owners;
use sluice_core::render::{Fragments, Program, Rendered, render};
use sluice_core::transition::Transition;
use sluice_nft::{
    Counters, Dataplane, Errno, Owner, Part, ReadError, Receipt, Snapshot, Step, Table, TableFlags,
};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::counters::store::Bases;
use crate::counters::totals::Totals;
use crate::fatal::chain;
use crate::host::clock::now;
use crate::reconcile::timings::Timings;
pub use error::{Failure, RoundError};
pub use inventory::{Countable, Inventory};
pub use outcome::Outcome;
pub use trigger::Trigger;

/// How often a round, or one commit of it, is tried because somebody else changed the ruleset under it.
const ATTEMPTS: u32 = 8;

/// Wait before the second attempt; before each later one twice as long.
const BACKOFF: Duration = Duration::from_millis(1);

/// The only writer: makes the kernel equal to services.
#[derive(Debug)]
pub struct Reconciler<D> {
    dataplane: D,
    /// What the kernel holds as far as we know; `None`: it has to be read.
    known: Option<Known>,
    /// Fragments of the table that was last known, which counters belong to.
    fragments: Arc<Fragments>,
    /// What the table of somebody before us leads where, until somebody asks.
    found: Option<Found>,
    /// What it held when we last knew.
    inventory: Inventory,
    totals: Totals,
    /// Where they are written down, if they are.
    bases: Option<Bases>,
    timings: Timings,
    rounds: u64,
    last_commit: Option<Timestamp>,
}

/// The table as we left it.
#[derive(Debug)]
struct Known {
    committed: Program,
    flags: TableFlags,
    /// Up to which nobody else touched it.
    generation: u32,
}

impl<D: Dataplane> Reconciler<D> {
    /// Nothing is read or changed yet.
    pub fn new(dataplane: D) -> Self {
        Reconciler {
            dataplane,
            known: None,
            fragments: Arc::default(),
            found: None,
            inventory: Inventory::default(),
            totals: Totals::default(),
            timings: Timings::default(),
            bases: None,
            rounds: 0,
            last_commit: None,
        }
    }

    /// The same, going on from totals that an earlier daemon wrote down.
    pub(crate) fn resume(dataplane: D, (bases, totals): (Bases, Totals)) -> Self {
        Reconciler { totals, bases: Some(bases), ..Reconciler::new(dataplane) }
    }

    /// What is written to.
    pub fn dataplane(&self) -> &D {
        &self.dataplane
    }

    /// Makes the kernel equal to what is wanted.
    pub async fn round(
        &mut self,
        trigger: Trigger,
        transition: &Transition<'_>,
    ) -> Result<Outcome, RoundError> {
        self.rounds += 1;
        let span = info_span!("reconcile", round = self.rounds, %trigger);
        async {
            let began = Instant::now();
            let outcome = self.attempts(trigger.looks(), transition).await;
            self.timings.round(trigger, began.elapsed(), outcome.is_ok());
            if let Some(known) = &self.known {
                self.inventory = Inventory::of(&known.committed, known.flags);
                self.fragments = known.committed.fragments.clone();
            }
            match &outcome {
                Ok(Outcome::Unchanged) => debug!("{}", Outcome::Unchanged),
                Ok(changed) => info!("{changed}"),
                Err(_) => {}
            }
            outcome
        }
        .instrument(span)
        .await
    }

    async fn attempts(&mut self, mut look: bool, transition: &Transition<'_>) -> Result<Outcome, RoundError> {
        let began = Instant::now();
        let (mut left, mut made, mut backoff) = (ATTEMPTS, false, BACKOFF);
        loop {
            left -= 1;
            match self.attempt(look, transition, began).await {
                Err(error) if left > 0 && error.failure.is_stale() => {
                    debug!("once more in {} ms: {}", backoff.as_millis(), chain(&error.failure));
                    made |= error.made;
                    look = true;
                    sleep(backoff).await;
                    backoff *= 2;
                }
                other => {
                    return other.map_err(|error| {
                        self.known = None;
                        RoundError { made: made | error.made, ..error }
                    });
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        look: bool,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let found = if look || self.known.is_none() { self.look()? } else { None };
        let outcome = match (found, self.known.take()) {
            (None, Some(known)) => self.change(known, look, transition, began).await,
            (found, _) => self.replace(found.unwrap_or_default(), transition, began).await,
        }?;
        if look || affinity_eviction::may_leave(transition) {
            self.release_clients(transition.wanted).map_err(made)?;
        }
        Ok(outcome)
    }

    /// What a round would do, at this moment. Nothing is changed.
    pub fn plan(&mut self, transition: &Transition<'_>) -> Result<Plan, ReadError> {
        if self.is_current()
            && let Some(known) = &self.known
        {
            return Ok(known.committed.propose(transition).plan);
        }
        let current = self.dataplane.read()?.table;
        Ok(plan(current.as_ref(), transition.wanted))
    }

    /// Reads everything. Returns what it found if that is not what is known.
    fn look(&mut self) -> Result<Option<Snapshot>, RoundError> {
        let mut snapshot = self.dataplane.read()?;
        if let Some(Owner::Port(port)) = snapshot.flags.owner {
            return Err(Failure::Owned { port }.into());
        }
        if let Some(after) = self.dataplane.adopt(snapshot.flags, snapshot.generation)? {
            info!("adopted table {}, which had no owner", Table::NAME);
            snapshot.flags.owner = Some(Owner::Us);
            snapshot.generation = after;
        }
        match &mut self.known {
            Some(known) if snapshot.table.as_ref() == Some(&known.committed.table()) => {
                known.generation = snapshot.generation;
                self.totals.observe(self.fragments.tally(&snapshot.counters));
                Ok(None)
            }
            _ => {
                self.known = None;
                Ok(Some(snapshot))
            }
        }
    }

    /// Goes from what is known to what is wanted. A look at the kernel goes with one at what is known: that is
    /// compared with the fragments of all services, so that no mistake in it lasts.
    async fn change(
        &mut self,
        mut known: Known,
        look: bool,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let mut proposal = match look {
            true => known.committed.propose_all(transition.wanted),
            false => known.committed.propose(transition),
        };
        let plan = std::mem::take(&mut proposal.plan);
        let part = Part::of(plan.changes().map(|change| &change.step));
        let names = transition.differences().map(|(name, ..)| name.clone()).collect();
        let services = proposal.is_part().then_some(&names);
        let counted = uncounts(&plan);
        if counted {
            self.write_totals(services);
        }
        let mut deleted = Counters::new();
        self.totals.begin();
        let done = self.carry_out(plan, known.generation, began, &mut deleted).await;
        self.totals.keep(proposal.tally(&known.committed, &deleted));
        if counted {
            self.write_totals(services);
        }
        let (generation, outcome) = done?;
        let committed = proposal.after.part(&part);
        // Not shared with this round, which is about to change them.
        self.fragments = Arc::default();
        known.committed.accept(proposal);
        self.fragments = known.committed.fragments.clone();
        known.generation = generation;
        if outcome != Outcome::Unchanged {
            let there = self.dataplane.read_part(&part).map_err(made)?.unwrap_or_default();
            compare(&there, &committed)?;
        }
        self.known = Some(known);
        Ok(outcome)
    }

    /// Goes from whatever was found to what is wanted, and makes sure of all of it.
    async fn replace(
        &mut self,
        found: Snapshot,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let Transition { held, wanted, .. } = *transition;
        let Snapshot { table: current, counters, flags, generation } = found;
        if held.iter().next().is_none() {
            self.found.get_or_insert_with(|| current.as_ref().map(Found::of).unwrap_or_default());
        }
        let desired = render(wanted, current.as_ref());
        let plan = diff(current.as_ref(), Some(&desired.table), &desired.owners);
        plan.findings().iter().for_each(|finding| warn!("{finding}"));
        self.totals.observe(if plan.is_empty() {
            desired.program.fragments.tally(&counters)
        } else if held.iter().next().is_none() {
            // Nobody knows whose elements were that are to go. What they counted since it was written down is lost.
            desired.program.fragments.tally(&staying(current.as_ref(), &desired.table, counters))
        } else {
            self.fragments.tally(&counters)
        });
        drop(current);
        self.write_totals(None);
        let mut deleted = Counters::new();
        self.totals.begin();
        let done = self.carry_out(plan, generation, began, &mut deleted).await;
        self.totals.keep(self.fragments.tally(&deleted));
        self.write_totals(None);
        let (generation, outcome) = done?;
        let Rendered { table, program: committed, .. } = desired;
        self.fragments = committed.fragments.clone();
        let mut known = Known { committed, flags, generation };
        if outcome != Outcome::Unchanged {
            let Snapshot { table: there, counters, flags, .. } = self.dataplane.read().map_err(made)?;
            self.totals.observe(self.fragments.tally(&counters));
            compare(&there.unwrap_or_default(), &table)?;
            known.flags = flags;
        }
        self.known = Some(known);
        Ok(outcome)
    }

    /// Commits one batch after the other. Returns the generation they led to.
    async fn carry_out(
        &mut self,
        plan: Plan,
        mut generation: u32,
        began: Instant,
        deleted: &mut Counters,
    ) -> Result<(u32, Outcome), RoundError> {
        if plan.is_empty() {
            return Ok((generation, Outcome::Unchanged));
        }
        let (summary, steps) = (plan.summary(), plan.changes().count());
        let (mut made, mut committed, mut settle) = (false, Duration::ZERO, None);
        for Batch { purpose, changes } in plan.batches {
            if let Some(time) = settle.replace(purpose.settle()) {
                sleep(time).await;
            }
            let batch: Vec<_> = changes.into_iter().map(|change| change.step).collect();
            let receipt = self.commit(&batch, generation).await;
            let receipt = receipt.map_err(|failure| RoundError { failure, made })?;
            generation = receipt.generation.unwrap_or(generation);
            for (name, counted) in receipt.deleted {
                let set = deleted.entry(name).or_default();
                counted.into_iter().for_each(|(key, counter)| *set.entry(key).or_default() += counter);
            }
            if purpose <= Purpose::Switch {
                committed = began.elapsed();
            }
            made |= purpose >= Purpose::Switch;
        }
        Ok((generation, Outcome::Changed { summary, steps, committed, took: began.elapsed() }))
    }

    /// Sends one batch. Where somebody else committed meanwhile, but not to our table, what was planned holds.
    async fn commit(&mut self, steps: &[Step], mut generation: u32) -> Result<Receipt, Failure> {
        let (mut left, mut backoff) = (ATTEMPTS, BACKOFF);
        loop {
            left -= 1;
            let began = Instant::now();
            let error = match self.dataplane.commit(steps, Some(generation)) {
                Ok(receipt) => {
                    self.timings.commit(began.elapsed());
                    self.last_commit = Some(now());
                    return Ok(receipt);
                }
                Err(error) if error.errno != Errno::ERESTART || left == 0 => return Err(error.into()),
                Err(stale) => stale,
            };
            sleep(backoff).await;
            backoff *= 2;
            generation = self.dataplane.unchanged_since(generation)?.ok_or(error)?;
        }
    }

    /// What the kernel holds as far as we know, and whether there is a table now.
    pub fn inventory(&mut self) -> Inventory {
        let present =
            self.dataplane.read_part(&Part::default()).map_or(self.inventory.present, |it| it.is_some());
        Inventory { present, ..self.inventory }
    }

    /// What it takes to count new connections; `None`: the table has to be read first.
    pub fn countable(&self) -> Option<Countable> {
        self.known.as_ref().map(|known| Countable::of(&known.committed))
    }

    /// What was found at the start that flows may come from.
    pub fn take_found(&mut self) -> Found {
        self.found.take().unwrap_or_default()
    }

    /// The same, where there is no round before the table is removed.
    pub fn find(&mut self) -> Found {
        let read = self.dataplane.read().inspect_err(|error| warn!("{error} (flows stay where they are)"));
        read.ok().and_then(|snapshot| snapshot.table).as_ref().map(Found::of).unwrap_or_default()
    }

    /// Removes the table, if there is one. Like a round, it is tried again
    /// where the kernel was short of something for a moment.
    pub async fn remove(&mut self) -> Result<(), Failure> {
        self.write_totals(None);
        let known = self.known.take();
        let (mut left, mut backoff) = (ATTEMPTS, BACKOFF);
        let deleted = loop {
            left -= 1;
            let failure = match self.dataplane.commit(&[Step::DeleteTable], None) {
                Ok(Receipt { deleted, .. }) => break deleted,
                Err(error) if error.errno == Errno::ENOENT => return Ok(()),
                Err(error) => Failure::from(error),
            };
            if left == 0 || !failure.is_stale() {
                return Err(failure);
            }
            debug!("once more in {} ms: {}", backoff.as_millis(), chain(&failure));
            sleep(backoff).await;
            backoff *= 2;
        };
        if let Some(known) = known {
            self.totals.begin();
            self.totals.keep(known.committed.fragments.tally(&deleted));
            self.write_totals(None);
        }
        Ok(())
    }

    /// Has saved what was counted of some services, or of all.
    pub(crate) fn write_totals(&self, services: Option<&BTreeSet<ServiceName>>) {
        if let Some(bases) = &self.bases {
            bases.save(services);
        }
    }

    /// New connections as of the last look at the kernel.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether nobody else may change the table.
    pub fn owns_table(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.flags.owner == Some(Owner::Us))
    }

    /// Whether it is certain that nobody else touched the table.
    pub fn is_current(&mut self) -> bool {
        let mut unchanged = |known: &Known| self.dataplane.unchanged_since(known.generation);
        self.known.as_ref().is_some_and(|known| matches!(unchanged(known), Ok(Some(_))))
    }

    /// Whether what led to this generation came before we last made sure of the table.
    pub fn has_seen(&self, generation: u32) -> bool {
        self.known.as_ref().is_some_and(|known| known.generation.wrapping_sub(generation) <= u32::MAX / 2)
    }

    /// Where totals are written down.
    pub(crate) fn bases(&self) -> Option<Bases> {
        self.bases.clone()
    }

    /// How long things took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Rounds so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// When the kernel was last changed by us.
    pub fn last_commit(&self) -> Option<Timestamp> {
        self.last_commit
    }
}

/// What leads from a table, or none, to these services.
pub fn plan(current: Option<&Table>, wanted: InForce<'_>) -> Plan {
    let Rendered { table, owners, .. } = render(wanted, current);
    diff(current, Some(&table), &owners)
}

/// Whether elements go that count.
fn uncounts(plan: &Plan) -> bool {
    plan.changes().any(|change| match &change.step {
        Step::DeleteElements(of, _) => of.declaration.counter,
        Step::DeleteSet(_) | Step::DeleteTable => true,
        _ => false,
    })
}

/// Counts of the elements that are there and stay as they are.
fn staying(current: Option<&Table>, desired: &Table, mut counters: Counters) -> Counters {
    counters.retain(|name, counted| {
        let (is, will_be) = (current.and_then(|table| table.sets.get(name)), desired.sets.get(name));
        let (Some(is), Some(will_be)) = (is, will_be) else { return false };
        counted.retain(|key, _| {
            let (is, will_be) = (is.elements.get(key), will_be.elements.get(key));
            is.map(|element| &element.data) == will_be.map(|element| &element.data)
        });
        true
    });
    counters
}

/// A commit was acknowledged: now it must be there.
fn compare(there: &Table, committed: &Table) -> Result<(), RoundError> {
    if there == committed {
        return Ok(());
    }
    let rest = diff(Some(there), Some(committed), &Owners::default());
    match rest.is_empty() {
        true => Ok(()),
        false => Err(made(Failure::differs(&rest))),
    }
}

fn made(failure: impl Into<Failure>) -> RoundError {
    RoundError { failure: failure.into(), made: true }
}
