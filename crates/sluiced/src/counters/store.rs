//! [`TotalsStore`]: orders saves of the totals of new connections, for the next daemon.
//!
//! Elements in the kernel count new connections and outlive a daemon that crashes; only the daemon has the counts of deleted
//! elements. Both are saved, flow by flow, when elements with counters are deleted and before totals are shown, so that after a
//! kill no total is smaller than one that was shown.
//!
//! The reconcile task and readers order saves, and the saver thread executes them with a
//! [`TotalsWriter`](super::writer::TotalsWriter). Only readers wait for the disk, and only for a moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_core::model::{BackendName, ServiceName, Services};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::counters::lines::read;
use crate::counters::totals::Totals;
use crate::counters::writer::{FILE, TotalsWriter};
use crate::state::Files;

/// How long readers wait for a save.
const PATIENCE: Duration = Duration::from_millis(500);

/// Orders saves of totals. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct TotalsStore {
    pending: Arc<Mutex<PendingSaves>>,
    wake: mpsc::UnboundedSender<()>,
}

/// The pending orders.
#[derive(Debug, Default)]
pub(super) struct PendingSaves {
    /// Whether there are any.
    pub(super) any: bool,
    /// Services whose totals changed.
    pub(super) services: BTreeSet<ServiceName>,
    /// Whether all totals must be written.
    pub(super) all: bool,
    /// Readers that wait.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl TotalsStore {
    /// Reads the totals of these services that an earlier daemon saved. State must never prevent a start: invalid content
    /// is logged and ignored. `wake` wakes the thread of the writer when a write is due.
    pub(crate) fn open(
        files: Files,
        services: &Services,
        wake: mpsc::UnboundedSender<()>,
    ) -> (Self, TotalsWriter, Totals) {
        let text = files.read(FILE).map_err(|error| error.to_string());
        let found = text.and_then(|text| text.map_or_else(|| Ok(Default::default()), |text| read(&text)));
        let (mut found, ignored) = found.unwrap_or_else(|error| {
            warn!("ignored {}: {error}", files.path(FILE).display());
            Default::default()
        });
        if ignored > 0 {
            warn!("ignored {ignored} lines of {}", files.path(FILE).display());
        }
        // Otherwise the file would keep totals of removed services for ever.
        found.retain(|flow, _| {
            services.get(&flow.service).is_some_and(|service| {
                let has = |name: &BackendName| service.backends.iter().any(|known| known.name == *name);
                flow.backend.as_ref().is_none_or(has)
            })
        });
        let (totals, pending) = (Totals::restored(found), Arc::<Mutex<PendingSaves>>::default());
        let writer = TotalsWriter::new(pending.clone(), totals.clone(), files);
        (TotalsStore { pending, wake }, writer, totals)
    }

    /// Orders a save of the totals of some services, or of all.
    pub(crate) fn save(&self, services: Option<&BTreeSet<ServiceName>>) {
        self.order(|pending| match services {
            Some(services) => pending.services.extend(services.iter().cloned()),
            None => pending.all = true,
        });
    }

    /// Waits until the current totals are saved, before a reader shows them; returns at once if they were saved a
    /// short time ago, and gives up if it takes too long.
    pub(crate) async fn save_for_reader(&self) {
        let (done, saved) = oneshot::channel();
        self.order(|pending| pending.waiting.push(done));
        let _ = timeout(PATIENCE, saved).await;
    }

    /// Waits until all orders are executed.
    pub(crate) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        self.order(|pending| pending.waiting.push(done));
        let _ = finished.await;
    }

    fn order(&self, order: impl FnOnce(&mut PendingSaves)) {
        let mut pending = locked(&self.pending);
        order(&mut pending);
        // A thread that is awake checks again before it sleeps.
        if !std::mem::replace(&mut pending.any, true) {
            let _ = self.wake.send(());
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
