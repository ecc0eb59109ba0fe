//! A refresh that finds nothing to repair: another thread reads the whole table, and renders and compares all services. With
//! many services this takes seconds, in which changes of health must not wait.

use std::sync::{Arc, Weak};

use sluice_core::model::{EffectiveServices, Services};
use sluice_core::render::Program;
use sluice_core::render::connection_counts::ConnectionCounts;
use sluice_nft::{AsideRead, Dataplane, Snapshot, TableFlags};
use tokio::time::Instant;
use tracing::debug;

use super::{Outcome, Reconciler, Trigger};
use crate::fatal::chain;
use crate::pool::backend_states::BackendStates;

/// The table, to be read and compared with what was committed.
pub(crate) struct Inspection {
    began: Instant,
    read: AsideRead<Snapshot>,
    /// Lost when it changes: then the read is of no use, and the change does not copy it.
    committed: Weak<Program>,
    flags: TableFlags,
    generation: u32,
}

/// The result of an inspection.
#[derive(Debug)]
pub(crate) struct Inspected {
    began: Instant,
    /// Generation of the last commit before it.
    generation: u32,
    finding: Finding,
}

/// What an inspection found.
#[derive(Debug)]
enum Finding {
    /// The table is as committed, and as rendered now: the generation of the read, and the counts in it.
    Equal(u32, ConnectionCounts),
    /// There was a commit meanwhile.
    Outdated,
    /// The table differs or could not be read.
    Differs,
}

/// What follows from an inspection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// The table is in sync.
    InSync,
    /// Another inspection may tell.
    Outdated,
    /// A round has to tell.
    Unknown,
}

impl Inspection {
    /// Reads and compares. Any thread may do this. `states` are lost when they change, like what was committed.
    pub(crate) fn run(self, services: &Services, states: &Weak<BackendStates>) -> Inspected {
        let Inspection { began, read, committed, flags, generation } = self;
        let finding = match read() {
            Ok(snapshot) => match (committed.upgrade(), states.upgrade()) {
                (Some(committed), Some(states)) => {
                    compare(&committed, flags, states.effective_services(services), snapshot)
                }
                _ => Finding::Outdated,
            },
            Err(error) => {
                debug!("{}", chain(&error));
                Finding::Differs
            }
        };
        Inspected { began, generation, finding }
    }
}

fn compare(
    committed: &Arc<Program>,
    expected_flags: TableFlags,
    services: EffectiveServices<'_>,
    Snapshot { table, counters, flags, generation }: Snapshot,
) -> Finding {
    let is_equal = flags == expected_flags
        && table.as_ref() == Some(&committed.table())
        && committed.propose_all(services).plan.is_empty();
    match is_equal {
        true => Finding::Equal(generation, committed.fragments.connection_counts(&counters)),
        false => Finding::Differs,
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// An inspection of the table; `None` if the next round must read the kernel anyway.
    pub(crate) fn inspection(&mut self) -> Option<Inspection> {
        let known = self.known.as_ref()?;
        Some(Inspection {
            began: Instant::now(),
            read: self.dataplane.read_aside(),
            committed: Arc::downgrade(&known.committed),
            flags: known.flags,
            generation: known.generation,
        })
    }

    /// Takes the result of an inspection: as a round of a refresh, if it found no difference.
    pub(crate) fn conclude(&mut self, Inspected { began, generation, finding }: Inspected) -> Conclusion {
        let known = self.known.as_mut().filter(|known| known.generation == generation);
        match (known, finding) {
            (Some(known), Finding::Equal(now, counts)) => {
                known.generation = now;
                self.totals.observe(counts);
                self.rounds += 1;
                self.timings.round(Trigger::Refresh, began.elapsed(), true);
                self.want_eviction();
                debug!("{}", Outcome::Unchanged);
                Conclusion::InSync
            }
            (Some(_), Finding::Differs) => Conclusion::Unknown,
            _ => Conclusion::Outdated,
        }
    }
}
