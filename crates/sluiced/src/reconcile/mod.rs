//! [`Reconciler`]: makes the table in the kernel equal to services.
//!
//! The reconcile task owns the only reconciler of the daemon and calls one [`Reconciler::round`] after another; `sluice apply`
//! runs a single round. The reconciler owns the dataplane, the committed program in memory, and the totals.
//!
//! - `round` decides what a round reads and what it plans from: the committed program in memory or a snapshot of the kernel;
//! - `commit` sends the batches of a plan, verifies the result, and removes the table;
//! - `inspection` and `affinity_eviction` read much on another thread.

mod affinity_eviction;
mod commit;
mod error;
pub mod forwarding;
mod inspection;
mod inventory;
pub mod namespace_lock;
mod outcome;
mod round;
pub mod timings;
mod trigger;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_api::Timestamp;
use sluice_core::flows::TableEndpoints;
use sluice_core::model::Transition;
use sluice_core::model::{EffectiveServices, ServiceName};
use sluice_core::plan::Plan;
use sluice_core::plan::diff;
use sluice_core::render::{Fragments, Program, Rendered, render};
use sluice_nft::{Dataplane, Owner, Part, ReadError, Table, TableFlags};
use sluice_probe::Board;
use tracing::warn;

use crate::counters::store::TotalsStore;
use crate::counters::totals::Totals;
use crate::reconcile::timings::Timings;
pub use affinity_eviction::{Eviction, Stale};
pub use error::{Failure, RoundError};
pub(crate) use inspection::{Conclusion, Inspected};
pub use inventory::{Countable, Inventory};
pub use outcome::Outcome;
pub use trigger::Trigger;

/// Attempts of a round, of a commit, or of a removal, if other programs change the ruleset meanwhile.
const ATTEMPTS: u32 = 8;

/// Wait before the second attempt; it doubles before each further attempt.
const BACKOFF: Duration = Duration::from_millis(1);

/// Makes the kernel equal to services. The daemon has one, and nothing else in it changes the ruleset.
#[derive(Debug)]
pub struct Reconciler<D> {
    dataplane: D,
    /// Changes of health that wait for a round; `None`: there are none.
    board: Option<Board>,
    /// The table after the last successful round; `None`: the next round must read the kernel.
    known: Option<Known>,
    /// Fragments of the last known table. They attribute its counters to services and backends.
    fragments: Arc<Fragments>,
    /// Listeners and backends of the table that the first round found, until [`Reconciler::take_found`].
    found: Option<TableEndpoints>,
    /// Sizes and flags of the last known table.
    inventory: Inventory,
    /// Attempts that are left to evict clients; 0: no client has to leave a backend.
    evictions_left: u32,
    totals: Totals,
    /// Saves the totals; `None`: they are not saved.
    totals_store: Option<TotalsStore>,
    timings: Timings,
    rounds: u64,
    last_commit: Option<Timestamp>,
}

/// The table as the last round left it.
#[derive(Debug)]
struct Known {
    /// Shared with plans: a change copies it while a plan is computed from it.
    committed: Arc<Program>,
    flags: TableFlags,
    /// The last generation at which no other program had changed the table.
    generation: u32,
}

impl<D: Dataplane> Reconciler<D> {
    /// A reconciler that has read and changed nothing.
    pub fn new(dataplane: D) -> Self {
        Reconciler {
            dataplane,
            board: None,
            known: None,
            fragments: Arc::default(),
            found: None,
            inventory: Inventory::default(),
            evictions_left: 0,
            totals: Totals::default(),
            timings: Timings::default(),
            totals_store: None,
            rounds: 0,
            last_commit: None,
        }
    }

    /// A reconciler that continues the totals of an earlier daemon, and saves them. Its rounds do not make changes of health on
    /// the board wait for longer than necessary.
    pub(crate) fn resume(dataplane: D, (totals_store, totals): (TotalsStore, Totals), board: Board) -> Self {
        Reconciler {
            totals,
            totals_store: Some(totals_store),
            board: Some(board),
            ..Reconciler::new(dataplane)
        }
    }

    /// The dataplane.
    pub fn dataplane(&self) -> &D {
        &self.dataplane
    }

    /// What a round that starts now would plan from.
    pub(crate) fn plan_basis(&mut self) -> Result<PlanBasis, ReadError> {
        if self.is_current()
            && let Some(known) = &self.known
        {
            return Ok(PlanBasis::Committed(known.committed.clone()));
        }
        Ok(PlanBasis::Current(self.dataplane.read()?.table))
    }

    /// Sizes and flags of the last known table, and whether a table exists now.
    pub fn inventory(&mut self) -> Inventory {
        let present =
            self.dataplane.read_part(&Part::default()).map_or(self.inventory.present, |it| it.is_some());
        Inventory { present, ..self.inventory }
    }

    /// The sets with counters; `None` until a round has read the table.
    pub fn countable(&self) -> Option<Countable> {
        self.known.as_ref().map(|known| Countable::of(&known.committed))
    }

    /// The listeners and backends of the table that the first round found.
    pub fn take_found(&mut self) -> TableEndpoints {
        self.found.take().unwrap_or_default()
    }

    /// The listeners and backends of the current table, for a removal without an earlier round. A failure is logged.
    pub fn read_found(&mut self) -> TableEndpoints {
        let read = self.dataplane.read().inspect_err(|error| warn!("{error} (flows are not checked)"));
        read.ok().and_then(|snapshot| snapshot.table).as_ref().map(TableEndpoints::of).unwrap_or_default()
    }

    /// Orders a save of the totals of some services, or of all.
    pub(crate) fn save_totals(&self, services: Option<&BTreeSet<ServiceName>>) {
        if let Some(totals_store) = &self.totals_store {
            totals_store.save(services);
        }
    }

    /// New connections, as of the last read of the counters.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether this process owns the table, so that no other program can change it.
    pub fn owns_table(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.flags.owner == Some(Owner::Us))
    }

    /// Whether the kernel confirms that no other program has changed the table since the last round.
    pub fn is_current(&mut self) -> bool {
        let mut unchanged = |known: &Known| self.dataplane.unchanged_since(known.generation);
        self.known.as_ref().is_some_and(|known| matches!(unchanged(known), Ok(Some(_))))
    }

    /// Whether the known table includes the change that led to this generation.
    pub fn has_seen(&self, generation: u32) -> bool {
        self.known.as_ref().is_some_and(|known| known.generation.wrapping_sub(generation) <= u32::MAX / 2)
    }

    /// The store of the totals.
    pub(crate) fn totals_store(&self) -> Option<TotalsStore> {
        self.totals_store.clone()
    }

    /// Durations of rounds and commits.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Number of rounds so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Time of the last successful commit.
    pub fn last_commit(&self) -> Option<Timestamp> {
        self.last_commit
    }
}

/// What a plan starts from.
#[derive(Debug)]
pub(crate) enum PlanBasis {
    /// The table as committed, which no other program has changed since.
    Committed(Arc<Program>),
    /// The table as it was read.
    Current(Option<Table>),
}

impl PlanBasis {
    /// The plan of a round.
    pub(crate) fn plan(&self, transition: &Transition<'_>) -> Plan {
        match self {
            PlanBasis::Committed(program) => program.propose(transition).plan,
            PlanBasis::Current(table) => plan(table.as_ref(), transition.desired),
        }
    }
}

/// The plan from a table, or from no table, to these services.
pub fn plan(current: Option<&Table>, desired: EffectiveServices<'_>) -> Plan {
    let Rendered { table, owners, .. } = render(desired, current);
    diff(current, Some(&table), &owners)
}
