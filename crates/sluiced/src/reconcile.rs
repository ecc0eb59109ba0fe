//! One round: read the kernel, plan, commit, read again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use sluice_api::Timestamp;
use sluice_core::diff::diff;
use sluice_core::model::{Service, ServiceName};
use sluice_core::plan::{Batch, Change, Purpose, Summary};
use sluice_core::render::{Layout, Rendered, render};
use sluice_core::tally::tally;
use sluice_nft::{CommitError, Counters, Dataplane, Owner, ReadError, Snapshot, Step, Table};
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span};

use crate::clock::now;
use crate::fatal::chain;
use crate::totals::{Totals, deleted};

/// Services by name.
pub type Services = BTreeMap<ServiceName, Service>;

/// How often a round is tried because somebody else changed the ruleset under it.
const ATTEMPTS: u32 = 8;

/// Wait before the second attempt; before each later one twice as long.
const BACKOFF: Duration = Duration::from_millis(1);

/// Why a round takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon starts.
    Start,
    /// The configuration was read again.
    Reload,
    /// Somebody else changed the table, or may have.
    Foreign,
    /// It is time to look.
    Refresh,
    /// The round before failed.
    Retry,
}

/// The only writer: makes the kernel equal to services.
#[derive(Debug)]
pub struct Reconciler<D> {
    dataplane: D,
    totals: Totals,
    rounds: u64,
    last_commit: Option<Timestamp>,
    /// Generation of the last read.
    seen: u32,
}

/// What a successful round did; `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel was as it should be; nothing was sent.
    Unchanged,
    /// It was made so, and read back.
    Changed {
        /// How much.
        summary: Summary,
        /// Steps of all commits.
        steps: usize,
        /// From the first read to the last.
        took: Duration,
    },
}

/// A round failed.
#[derive(Debug)]
pub struct RoundError {
    /// At what.
    pub failure: Failure,
    /// Whether the kernel was switched to the services wanted all the same.
    pub made: bool,
}

/// What a round can fail at.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Reading the kernel.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Changing it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It belongs to somebody else.
    #[error("table {} is owned by another process ({})", Table::NAME, owner(*port))]
    Owned {
        /// Netlink port of the owner.
        port: u32,
    },
    /// It was changed, and then was not what it should be.
    #[error("verify: {count} changes are missing after the commit, first: {first}")]
    Differs {
        /// How many steps a plan would still have.
        count: usize,
        /// The first, in nft syntax.
        first: String,
    },
}

impl<D: Dataplane> Reconciler<D> {
    /// Nothing is read or changed yet.
    pub fn new(dataplane: D) -> Self {
        Reconciler { dataplane, totals: Totals::default(), rounds: 0, last_commit: None, seen: 0 }
    }

    /// Makes the kernel equal to `wanted`. `held` is what it was made equal to before: that names the
    /// elements that have to go, so that their counts are kept.
    pub async fn round(
        &mut self,
        trigger: Trigger,
        held: &Services,
        wanted: &Services,
    ) -> Result<Outcome, RoundError> {
        self.rounds += 1;
        let span = info_span!("reconcile", round = self.rounds, %trigger);
        async {
            let outcome = self.attempts(held, wanted).await;
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

    async fn attempts(&mut self, held: &Services, wanted: &Services) -> Result<Outcome, RoundError> {
        let (mut left, mut made, mut backoff) = (ATTEMPTS, false, BACKOFF);
        loop {
            left -= 1;
            match self.attempt(held, wanted).await {
                Err(error) if left > 0 && error.failure.is_stale() => {
                    debug!("once more in {} ms: {}", backoff.as_millis(), chain(&error.failure));
                    made |= error.made;
                    tokio::time::sleep(backoff).await;
                    backoff *= 2;
                }
                other => return other.map_err(|error| RoundError { made: made | error.made, ..error }),
            }
        }
    }

    async fn attempt(&mut self, held: &Services, wanted: &Services) -> Result<Outcome, RoundError> {
        let began = Instant::now();
        let Snapshot { table: current, counters, flags, mut generation } = self.read(false)?;
        if let Some(Owner::Port(port)) = flags.owner {
            return Err(RoundError { failure: Failure::Owned { port }, made: false });
        }
        let adopted = self.dataplane.adopt(flags, generation);
        if let Some(after) = adopted.map_err(|error| RoundError { failure: error.into(), made: false })? {
            info!("adopted table {}, which had no owner", Table::NAME);
            generation = after;
        }
        let layout = Layout::of(current.as_ref());
        let desired = render(wanted, &layout);
        let plan = diff(current.as_ref(), Some(&desired.table), &desired.origins);
        drop(current);
        if plan.is_empty() {
            self.observe(&desired, &counters);
            return Ok(Outcome::Unchanged);
        }

        let held = render(held, &layout);
        self.observe(&held, &counters);
        let summary = plan.summary();
        let steps = plan.changes().count();
        let (mut made, mut counters, mut settle) = (false, counters, None);
        for Batch { purpose, changes } in plan.batches {
            if let Some(time) = settle.replace(purpose.settle()) {
                tokio::time::sleep(time).await;
                let snapshot = self.read(made)?;
                // The rest of the plan is for what its first part led to.
                if snapshot.generation != generation {
                    return Err(RoundError { failure: stale().into(), made });
                }
                counters = snapshot.counters;
            }
            let batch: Vec<_> = changes.into_iter().map(|change| change.step).collect();
            generation = self.commit(&batch, &held, &counters, generation, made)?;
            made |= purpose >= Purpose::Switch;
        }
        drop((held, counters));
        self.verify(&desired)?;
        Ok(Outcome::Changed { summary, steps, took: began.elapsed() })
    }

    /// Reads the kernel again and expects it to be as desired.
    fn verify(&mut self, desired: &Rendered) -> Result<(), RoundError> {
        let Snapshot { table, counters, .. } = self.read(true)?;
        self.observe(desired, &counters);
        let rest = diff(table.as_ref(), Some(&desired.table), &desired.origins);
        match rest.changes().next() {
            None => Ok(()),
            Some(Change { step, .. }) => {
                let count = rest.changes().count();
                Err(RoundError { failure: Failure::Differs { count, first: step.to_string() }, made: true })
            }
        }
    }

    fn read(&mut self, made: bool) -> Result<Snapshot, RoundError> {
        let read = self.dataplane.read().map_err(|error| RoundError { failure: error.into(), made });
        read.inspect(|snapshot| self.seen = snapshot.generation)
    }

    /// Sends one batch that was planned from this generation, and keeps the counts of what it deletes.
    /// Returns the generation it led to.
    fn commit(
        &mut self,
        steps: &[Step],
        held: &Rendered,
        counters: &Counters,
        generation: u32,
        made: bool,
    ) -> Result<u32, RoundError> {
        let committed = self.dataplane.commit(steps, Some(generation));
        let committed = committed.map_err(|error| RoundError { failure: error.into(), made })?;
        self.last_commit = Some(now());
        self.totals.keep(tally(&held.table, &held.origins, &deleted(steps, counters)));
        Ok(committed.unwrap_or(generation))
    }

    fn observe(&mut self, rendered: &Rendered, counters: &Counters) {
        self.totals.observe(tally(&rendered.table, &rendered.origins, counters));
    }

    /// Reads the kernel for its counts; `services` are those it was made equal to.
    pub fn look(&mut self, services: &Services) -> Result<Snapshot, ReadError> {
        let snapshot = self.dataplane.read()?;
        self.observe(&render(services, &Layout::of(snapshot.table.as_ref())), &snapshot.counters);
        Ok(snapshot)
    }

    /// Removes the table, if there is one.
    pub fn remove(&mut self) -> Result<(), CommitError> {
        match self.dataplane.commit(&[Step::DeleteTable], None) {
            Err(error) if error.errno == sluice_nft::Errno::ENOENT => Ok(()),
            other => other.map(drop),
        }
    }

    /// New connections as of the last look at the kernel.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether what led to this generation came before the last round's last look.
    pub fn has_seen(&self, generation: u32) -> bool {
        self.seen.wrapping_sub(generation) <= u32::MAX / 2
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

impl Failure {
    /// Whether it looks as if somebody else changed the ruleset meanwhile, or as if the kernel was short of
    /// something for a moment: then reading and planning again helps.
    fn is_stale(&self) -> bool {
        match (self, self.errno()) {
            (Failure::Differs { .. }, _) => true,
            (_, Some(Errno::EINTR | Errno::EBUSY | Errno::ENOBUFS)) => true,
            // What became of the batch is not known.
            (Failure::Commit(_), Some(Errno::ERESTART | Errno::ENOENT | Errno::EEXIST | Errno::EIO)) => true,
            _ => false,
        }
    }

    /// What the system said, if it was asked.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Failure::Read(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Commit(error) => Some(Errno::from_raw(error.errno.0)),
            Failure::Owned { .. } => Some(Errno::EPERM),
            Failure::Differs { .. } => None,
        }
    }
}

/// What can be said of the owner of a netlink port. The kernel gives the first socket of a process its id.
fn owner(port: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{port}/comm")) {
        Ok(name) => format!("{}, pid {port}", name.trim()),
        Err(_) => format!("netlink port {port}"),
    }
}

/// Somebody else committed between two parts of a plan.
fn stale() -> CommitError {
    CommitError { operation: "commit a batch".to_owned(), errno: sluice_nft::Errno::ERESTART }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trigger::Start => "start",
            Trigger::Reload => "reload",
            Trigger::Foreign => "foreign change",
            Trigger::Refresh => "refresh",
            Trigger::Retry => "retry",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Unchanged => f.write_str("nothing changed in the kernel"),
            Outcome::Changed { summary: Summary { added, changed, removed }, steps, took } => {
                write!(f, "{added} added, {changed} changed, {removed} removed in the kernel ")?;
                write!(f, "({steps} steps, {} ms)", took.as_millis())
            }
        }
    }
}
