//! Start, stop, and hand-over to the next daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sluice_api::{EventKind, ForeignChanges, ReloadStatus, Severity};
use sluice_config::Loaded;
use sluice_core::model::Transition;
use sluice_core::model::{Networks, OnStop, Services};
use sluice_nft::{Dataplane, Table};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::announce::{Announcements, Withheld};
use crate::conntrack::bytes::ByteTotals;
use crate::conntrack::orders::FlowOrders;
use crate::counters::store::TotalsStore;
use crate::daemon::load::LoadFollower;
use crate::daemon::saver::{SaveQueue, Saved, Writers};
use crate::daemon::{Daemon, Effects, not_forwarding};
use crate::digest::SharedDigest;
use crate::fatal::Fatal;
use crate::host::clock::now;
use crate::pool::backend_states::BackendStates;
use crate::pool::state_since::StateChangeTimes;
use crate::reconcile::forwarding::{self, versions};
use crate::reconcile::{Reconciler, RoundError, Trigger};
use crate::state::backends::BackendStateFile;
use crate::status::shared::Shared;
use crate::status::view::Reloads;

/// Timeout of the last save at a stop.
pub(super) const LAST_SAVE: Duration = Duration::from_secs(10);

impl<D: Dataplane> Daemon<D> {
    /// Makes the kernel equal to the configuration for the first time.
    pub(crate) async fn start(
        file: PathBuf,
        Loaded { config, warnings }: Loaded,
        dataplane: D,
        Effects { mut sysctls, notify, prober, flows, http, start_saver, announce_queue, results }: Effects,
        networks: Networks,
    ) -> Result<Self, Fatal> {
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        warnings.iter().for_each(|warning| warn!("{warning}"));
        let started = now();
        let reload = ReloadStatus {
            at: started,
            ok: true,
            invalid: false,
            problems: vec![],
            warnings,
            summary: String::new(),
            generation: 1,
        };
        let since = Shared::new(StateChangeTimes::new(started));
        let reloads = Reloads { ok: 0, failed: 0, applied: started };
        let last_read = Instant::now();
        let (backend_state_file, saved_state, before) =
            BackendStateFile::open(sysctls.files(), sysctls.boot());
        let (wake, woken) = mpsc::unbounded_channel();
        let (totals_store, totals_writer, totals) =
            TotalsStore::open(sysctls.files(), &config.services, wake.clone());
        let record_writer = sysctls.save_on_thread(wake.clone());
        let reconciler = Reconciler::resume(dataplane, (totals_store, totals), prober.board().clone());
        let writers = Writers { backend_state_file, totals_writer, record_writer };
        let (save_queue, saver) = SaveQueue::new(writers, (wake, woken), results);
        start_saver(saver);
        let versions = versions(&*config.services);
        forwarding::ensure(&mut sysctls, config.forwarding, &versions).await.map_err(not_forwarding)?;
        let announcements = Announcements::new(announce_queue, &config.services);
        let mut daemon = Daemon {
            file,
            config,
            digest: SharedDigest::default(),
            backend_states: Shared::new(BackendStates::new(networks)),
            hooks: Shared::default(),
            readiness: watch::Sender::default(),
            load_follower: LoadFollower::default(),
            prober,
            flows: FlowOrders::new(flows),
            save_queue,
            reconciler,
            sysctls,
            byte_totals: ByteTotals::default(),
            byte_counter: None,
            ending_byte_counter: None,
            notify,
            started,
            since,
            events: Shared::default(),
            http,
            reload,
            reloads,
            is_stopping: false,
            sync_failure: None,
            forwarding_failure: None,
            save_failure: None,
            announce_failure: None,
            announcements,
            withheld: Withheld::None,
            left: None,
            foreign: ForeignChanges::default(),
            followers: BTreeMap::new(),
            last_read,
        };
        daemon.load_follower.replace(&daemon.config.services);
        daemon.restore(&saved_state, before.as_ref());
        daemon.save();
        daemon.ensure_accounting().await;
        let desired = daemon.backend_states.effective_services(&daemon.config.services);
        let outcome =
            daemon.reconciler.round(Trigger::Start, &Transition::between(&Services::new(), desired)).await;
        let mut found = daemon.reconciler.take_found();
        before.iter().for_each(|before| found.add_backends(before));
        daemon.flows.note_start(desired, found);
        daemon.flows.record_round(&outcome, &daemon.config.services, desired);
        let outcome =
            outcome.map_err(|RoundError { failure, .. }| Fatal::kernel(failure.errno(), failure))?;
        daemon.evict_clients_at_start().await;
        daemon.reload.summary = outcome.to_string();
        let line = daemon.summary_line();
        daemon.events.add(EventKind::Start, Severity::Info, format!("started: {line}"));
        info!("ready: {line}");
        daemon.publish_readiness();
        daemon.notify.ready(&line);
        Ok(daemon)
    }

    /// Stops, as `on_stop` says.
    pub(crate) async fn stop(mut self) -> Result<(), Fatal> {
        // The last attempt to save; a failure is logged.
        let (saved, totals_store) = (self.order_save(true), self.reconciler.totals_store());
        self.stop_accounting().await;
        match self.config.on_stop {
            OnStop::Keep => {
                // The next daemon may have removed backends again; it checks flows when it starts.
                self.reconciler.save_totals(None);
                wait_for(saved, totals_store).await;
                info!("stopped: table {} and forwarding stay (on_stop: keep)", Table::NAME);
            }
            OnStop::Remove => {
                let removed = self.reconciler.remove().await;
                match removed {
                    Ok(()) => self.flows.stop(self.backend_states.effective_services(&self.config.services)),
                    Err(_) => self.flows.finish(),
                }
                // Sysctls are restored even if the table could not be removed. Failures are logged, and recorded for `sluice cleanup`.
                self.sysctls.restore().await;
                wait_for(saved, totals_store).await;
                removed.map_err(|failure| Fatal::kernel(failure.errno(), failure))?;
                info!(
                    "stopped: table {} removed; established connections continue only if another table has NAT \
                     rules",
                    Table::NAME
                );
            }
        }
        Ok(())
    }

    /// Stops, and leaves table and forwarding to the next daemon.
    pub(crate) async fn hand_over(mut self) {
        let (saved, totals_store) = (self.order_save(true), self.reconciler.totals_store());
        self.stop_accounting().await;
        self.reconciler.save_totals(None);
        wait_for(saved, totals_store).await;
        info!("stopped: table {} and forwarding stay for the next daemon", Table::NAME);
    }
}

/// Waits until the state of backends, and the last totals, are saved. A disk that does not answer must not keep the process.
async fn wait_for(saved: oneshot::Receiver<Saved>, totals_store: Option<TotalsStore>) {
    let all = async {
        let _ = saved.await;
        if let Some(totals_store) = totals_store {
            totals_store.finish().await;
        }
    };
    if let Err(_elapsed) = timeout(LAST_SAVE, all).await {
        warn!(
            "a write to the state directory is pending for {} s: the last changes are lost",
            LAST_SAVE.as_secs()
        );
    }
}
