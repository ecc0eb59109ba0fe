//! One round: decides whether to read the kernel and what to plan from, and retries with a fresh snapshot.
//!
//! A round plans from the committed program in memory. It reads the whole table at the start, at a refresh, after a
//! failed round, and when another program may have changed the table; if the table then differs from the
//! committed program, the round plans from the table.

use std::sync::Arc;

use sluice_core::flows::TableEndpoints;
use sluice_core::model::Transition;
use sluice_core::plan::diff;
use sluice_core::render::{Rendered, render};
use sluice_nft::{Counters, Dataplane, Owner, Part, Snapshot, Table};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug, info, info_span, warn};

use super::commit::{after_switch, deletes_counters, verify};
use super::{
    ATTEMPTS, BACKOFF, Failure, Inventory, Known, Outcome, Reconciler, RoundError, Trigger, affinity_eviction,
};
use crate::fatal::chain;

impl<D: Dataplane> Reconciler<D> {
    /// Makes the kernel equal to the desired services.
    pub async fn round(
        &mut self,
        trigger: Trigger,
        transition: &Transition<'_>,
    ) -> Result<Outcome, RoundError> {
        self.rounds += 1;
        let span = info_span!("reconcile", round = self.rounds, %trigger);
        async {
            let began = Instant::now();
            let outcome = self.attempts(trigger.reads_kernel(), transition).await;
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

    /// Attempts a round until it succeeds, fails for good, or has no attempts left. Later attempts read the kernel.
    async fn attempts(&mut self, mut read: bool, transition: &Transition<'_>) -> Result<Outcome, RoundError> {
        let began = Instant::now();
        let (mut left, mut switched, mut backoff) = (ATTEMPTS, false, BACKOFF);
        loop {
            left -= 1;
            match self.attempt(read, transition, began).await {
                Err(error) if left > 0 && error.failure.is_stale() => {
                    debug!("retrying in {} ms: {}", backoff.as_millis(), chain(&error.failure));
                    switched |= error.switched;
                    read = true;
                    sleep(backoff).await;
                    backoff *= 2;
                }
                other => {
                    return other.map_err(|error| {
                        self.known = None;
                        RoundError { switched: switched | error.switched, ..error }
                    });
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        read: bool,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let unknown = if read || self.known.is_none() { self.read_kernel()? } else { None };
        let outcome = match (unknown, self.known.take()) {
            (None, Some(known)) => self.apply_to_known(known, read, transition, began).await,
            (snapshot, _) => self.apply_to_snapshot(snapshot.unwrap_or_default(), transition, began).await,
        }?;
        if read || affinity_eviction::may_evict(transition) {
            self.want_eviction();
        }
        Ok(outcome)
    }

    /// Reads the whole table. Returns the snapshot if it differs from the known table.
    fn read_kernel(&mut self) -> Result<Option<Snapshot>, RoundError> {
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
                self.totals.observe(self.fragments.connection_counts(&snapshot.counters));
                Ok(None)
            }
            _ => {
                self.known = None;
                Ok(Some(snapshot))
            }
        }
    }

    /// Applies the desired services to the known table. A round that `read` the kernel compares the fragments of all services
    /// with the known table, not only those of changed services, so that an error in it cannot persist.
    async fn apply_to_known(
        &mut self,
        mut known: Known,
        read: bool,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let mut proposal = match read {
            true => known.committed.propose_all(transition.desired),
            false => known.committed.propose(transition),
        };
        let plan = std::mem::take(&mut proposal.plan);
        let part = Part::of(plan.changes().map(|change| &change.step));
        let names = transition.differences().map(|(name, ..)| name.clone()).collect();
        let services = proposal.is_part().then_some(&names);
        let deletes_counters = deletes_counters(&plan);
        if deletes_counters {
            self.save_totals(services);
        }
        let mut deleted = Counters::new();
        self.totals.begin_change();
        let done = self.commit_batches(plan, known.generation, began, &mut deleted).await;
        self.totals.end_change(proposal.connection_counts(&known.committed, &deleted));
        if deletes_counters {
            self.save_totals(services);
        }
        let (generation, outcome) = done?;
        let expected = proposal.after.part(&part);
        // `accept` changes the fragments in place if no other reference to them exists.
        self.fragments = Arc::default();
        Arc::make_mut(&mut known.committed).accept(proposal);
        self.fragments = known.committed.fragments.clone();
        known.generation = generation;
        if outcome != Outcome::Unchanged {
            let current = self.dataplane.read_part(&part).map_err(after_switch)?.unwrap_or_default();
            verify(&current, &expected)?;
        }
        self.known = Some(known);
        Ok(outcome)
    }

    /// Applies the desired services to a table that is not known, and verifies the whole table.
    async fn apply_to_snapshot(
        &mut self,
        snapshot: Snapshot,
        transition: &Transition<'_>,
        began: Instant,
    ) -> Result<Outcome, RoundError> {
        let Transition { held, desired, .. } = *transition;
        let Snapshot { table: current, counters, flags, generation } = snapshot;
        if held.iter().next().is_none() {
            self.found.get_or_insert_with(|| current.as_ref().map(TableEndpoints::of).unwrap_or_default());
        }
        let desired = render(desired, current.as_ref());
        let plan = diff(current.as_ref(), Some(&desired.table), &desired.owners);
        plan.findings().iter().for_each(|finding| warn!("{finding}"));
        self.totals.observe(if plan.is_empty() {
            desired.program.fragments.connection_counts(&counters)
        } else if held.iter().next().is_none() {
            // The backends of elements that the plan deletes are not known, so their counts since the last save are lost.
            desired.program.fragments.connection_counts(&unchanged_counters(
                current.as_ref(),
                &desired.table,
                counters,
            ))
        } else {
            self.fragments.connection_counts(&counters)
        });
        drop(current);
        self.save_totals(None);
        let mut deleted = Counters::new();
        self.totals.begin_change();
        let done = self.commit_batches(plan, generation, began, &mut deleted).await;
        self.totals.end_change(self.fragments.connection_counts(&deleted));
        self.save_totals(None);
        let (generation, outcome) = done?;
        let Rendered { table, program: committed, .. } = desired;
        self.fragments = committed.fragments.clone();
        let mut known = Known { committed: Arc::new(committed), flags, generation };
        if outcome != Outcome::Unchanged {
            let Snapshot { table: current, counters, flags, .. } =
                self.dataplane.read().map_err(after_switch)?;
            self.totals.observe(self.fragments.connection_counts(&counters));
            verify(&current.unwrap_or_default(), &table)?;
            known.flags = flags;
        }
        self.known = Some(known);
        Ok(outcome)
    }
}

/// The counters of the elements that exist and stay unchanged.
fn unchanged_counters(current: Option<&Table>, desired: &Table, mut counters: Counters) -> Counters {
    counters.retain(|name, counted| {
        let (before, after) = (current.and_then(|table| table.sets.get(name)), desired.sets.get(name));
        let (Some(before), Some(after)) = (before, after) else { return false };
        counted.retain(|key, _| {
            let (before, after) = (before.elements.get(key), after.elements.get(key));
            before.map(|element| &element.data) == after.map(|element| &element.data)
        });
        true
    });
    counters
}
