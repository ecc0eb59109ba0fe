//! Commits the batches of a plan, verifies the result, and removes the table.

use std::time::Duration;

use sluice_core::plan::diff;
use sluice_core::plan::{Batch, Plan, Purpose};
use sluice_core::render::owner::Owners;
use sluice_nft::{Counters, Dataplane, Errno, Receipt, Step, Table};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::{ATTEMPTS, BACKOFF, Failure, Outcome, Reconciler, RoundError};
use crate::fatal::chain;
use crate::host::clock::now;

impl<D: Dataplane> Reconciler<D> {
    /// Commits the batches of a plan in order, and adds the last counts of deleted elements to `deleted`. Returns the generation
    /// after the last batch.
    pub(super) async fn commit_batches(
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
        let (mut switched, mut committed, mut settle) = (false, Duration::ZERO, None);
        for Batch { purpose, changes } in plan.batches {
            if let Some(time) = settle.replace(purpose.settle()) {
                self.settle(time).await;
            }
            let batch: Vec<_> = changes.into_iter().map(|change| change.step).collect();
            let receipt = self.commit(&batch, generation).await;
            let receipt = receipt.map_err(|failure| RoundError { failure, switched })?;
            generation = receipt.generation.unwrap_or(generation);
            for (name, counted) in receipt.deleted {
                let set = deleted.entry(name).or_default();
                counted.into_iter().for_each(|(key, counter)| *set.entry(key).or_default() += counter);
            }
            if purpose <= Purpose::Switch {
                committed = began.elapsed();
            }
            switched |= purpose >= Purpose::Switch;
        }
        Ok((generation, Outcome::Changed { summary, steps, committed, took: began.elapsed() }))
    }

    /// Waits between two batches, but not for long if a change of health waits for the end of the round.
    async fn settle(&self, time: Duration) {
        let least = Purpose::SETTLE.min(time);
        sleep(least).await;
        match &self.board {
            Some(board) => drop(timeout(time - least, board.has_changes()).await),
            None => sleep(time - least).await,
        }
    }

    /// Commits one batch. If another program has committed since, but has not changed the table, the plan is still valid and
    /// the commit is retried.
    pub(super) async fn commit(&mut self, steps: &[Step], mut generation: u32) -> Result<Receipt, Failure> {
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

    /// Removes the table if it exists. Temporary failures are retried as in a round.
    pub async fn remove(&mut self) -> Result<(), Failure> {
        self.save_totals(None);
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
            debug!("retrying in {} ms: {}", backoff.as_millis(), chain(&failure));
            sleep(backoff).await;
            backoff *= 2;
        };
        if let Some(known) = known {
            self.totals.begin_change();
            self.totals.end_change(known.committed.fragments.connection_counts(&deleted));
            self.save_totals(None);
        }
        Ok(())
    }
}

/// Whether a plan deletes elements with counters.
pub(super) fn deletes_counters(plan: &Plan) -> bool {
    plan.changes().any(|change| match &change.step {
        Step::DeleteElements(of, _) => of.declaration.counter,
        Step::DeleteSet(_) | Step::DeleteTable => true,
        Step::AddTable
        | Step::AddSet(..)
        | Step::AddChain(..)
        | Step::DeleteChain(_)
        | Step::DeleteObject(_)
        | Step::AddRule(..)
        | Step::FlushChain(_)
        | Step::AddElements(..) => false,
    })
}

/// Verifies that the table, or a part of it, is what was committed.
pub(super) fn verify(current: &Table, expected: &Table) -> Result<(), RoundError> {
    if current == expected {
        return Ok(());
    }
    let rest = diff(Some(current), Some(expected), &Owners::default());
    match rest.is_empty() {
        true => Ok(()),
        false => Err(after_switch(Failure::differs(&rest))),
    }
}

/// A failure after the commit that switched the kernel to the desired services.
pub(super) fn after_switch(failure: impl Into<Failure>) -> RoundError {
    RoundError { failure: failure.into(), switched: true }
}
