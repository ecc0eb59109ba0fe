//! [`View`]: the state that the reconcile task hands out to readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_api::{
    ConfigStatus, DaemonStatus, FollowerStatus, HookStatus, HostStatus, NodeLeft, NodeStatus, ReloadStatus,
    ServiceStatus, StateStatus, Status, TableStatus, Timestamp,
};
use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::model::{ServiceName, Services};
use sluice_nft::{Counter, Counters, Key, ReadError, Set, SetName};
use sluice_probe::Board;

use crate::announce::AnnounceView;
use crate::conntrack::bytes::BackendBytes;
use crate::counters::store::TotalsStore;
use crate::counters::totals::{Totals, TotalsSnapshot};
use crate::digest::SharedDigest;
use crate::host::clock::now;
use crate::pool::backend_states::BackendStates;
use crate::pool::readiness::Readiness;
use crate::pool::state_since::StateChangeTimes;
use crate::reconcile::Countable;
use crate::reconcile::timings::Timings;
use crate::status::builder::{StatusBuilder, set_source_ports};
use crate::status::events::Events;
use crate::status::shared::Shared;

/// Reads the counters of a set with this name and declaration, on a separate socket.
pub type ReadCounters = Box<dyn FnMut(&SetName, &Set) -> Result<Vec<(Key, Counter)>, ReadError> + Send>;

/// The state of the daemon at one moment between two rounds. A view is cheap to create and to keep; slow operations on it run
/// on readers' threads.
#[derive(Debug)]
pub struct View {
    pub(crate) services: Arc<Services>,
    pub(crate) digest: SharedDigest,
    pub(crate) backend_states: Shared<BackendStates>,
    pub(crate) readiness: Readiness,
    pub(crate) hooks: Shared<BTreeMap<ServiceName, HookStatus>>,
    pub(crate) since: Shared<StateChangeTimes>,
    pub(crate) board: Board,
    pub(crate) totals: Totals,
    /// The value of [`Totals::epoch`].
    pub(crate) epoch: Option<u64>,
    /// The store to which totals are saved before they are shown.
    pub(crate) totals_store: Option<TotalsStore>,
    /// Bytes of backends; `None` if they are not counted.
    pub(crate) bytes: Option<Arc<BackendBytes>>,
    pub(crate) countable: Option<Countable>,
    pub(crate) timings: Timings,
    pub(crate) reload: ReloadStatus,
    pub(crate) reloads: Reloads,
    pub(crate) table: TableStatus,
    pub(crate) events: Shared<Events>,
    pub(crate) daemon: DaemonStatus,
    pub(crate) state: StateStatus,
    pub(crate) followers: Vec<FollowerStatus>,
    pub(crate) left: Option<NodeLeft>,
    pub(crate) announcements: AnnounceView,
}

/// Results of the reloads so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reloads {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// When the configuration in force was applied.
    pub(crate) applied: Timestamp,
}

impl View {
    /// Updates the totals from the kernel's counters. `false` if the table changed meanwhile and they were not updated.
    pub(crate) fn count(&self, read: &mut ReadCounters) -> Result<bool, ReadError> {
        let Some(epoch) = self.epoch else { return Ok(false) };
        let Some(Countable { sets, fragments }) = &self.countable else { return Ok(true) };
        let mut counters = Counters::new();
        for (name, set) in sets {
            let counted = read(name, set)?.into_iter();
            counters.insert(name.clone(), counted.filter(|(_, counter)| !counter.is_zero()).collect());
        }
        Ok(self.totals.observe_at_epoch(epoch, fragments.connection_counts(&counters)))
    }

    /// Waits until the totals are saved, before a reader shows them.
    pub(crate) async fn save(&self) {
        if let Some(totals_store) = &self.totals_store {
            totals_store.save_for_reader().await;
        }
    }

    /// The whole status, with these counts of connections and flows.
    pub fn status(&self, counted: &TotalsSnapshot, flows: Option<&FlowCounts>, host: HostStatus) -> Status {
        let View { services, backend_states, readiness, since, board, .. } = self;
        let active = flows.map(|flows| flows.by_backend(services, |_| true));
        let bytes = self.bytes.clone();
        let builder = StatusBuilder::new(board, backend_states, readiness, counted, since, active, bytes);
        let effective = backend_states.effective_services(services);
        let mut shown: Vec<_> = effective
            .iter()
            .map(|(name, effective)| ServiceStatus {
                last_hook: self.hooks.get(name).cloned(),
                ..builder.service(name, &services[name], effective)
            })
            .collect();
        set_source_ports(&mut shown, services);
        Status {
            services: shown,
            config: ConfigStatus { digest: self.digest.of(services).short().to_owned() },
            reload: self.reload.clone(),
            table: self.table.clone(),
            host,
            events: self.events.lately(now()),
            daemon: self.daemon.clone(),
            state: self.state.clone(),
            followers: self.followers.clone(),
            node: NodeStatus { left: self.left.clone() },
            announce: self.announcements.status(services),
        }
    }
}
