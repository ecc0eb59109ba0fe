//! `Daemon`: the state of the reconcile task, and the handling of each request.

mod accounting;
mod announce;
mod aside;
mod due;
pub mod event_loop;
pub mod followers;
mod health;
mod lifecycle;
pub(crate) mod load;
mod loading;
mod node;
mod overrides;
pub mod planning;
mod readiness;
pub mod saver;
mod signals;
mod turns;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_api::{
    EventKind, FollowerStatus, ForeignChange, ForeignChanges, HookStatus, NodeLeft, ReloadStatus, Severity,
    Timestamp, pluralize,
};
use sluice_config::{Loaded, Problem};
use sluice_core::model::Transition;
use sluice_core::model::{Config, Forwarding, Networks, ServiceName, Services};
use sluice_netlink::{Change, Event, SysctlError};
use sluice_nft::{Dataplane, Table};
use sluice_probe::Prober;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::announce::{AnnounceQueue, Announcements, Withheld};
use crate::api::http::{HttpServer, ListenerChange};
use crate::conntrack::bytes::{ByteCounter, ByteTotals};
use crate::conntrack::cleaner::FlowCleaner;
use crate::conntrack::orders::FlowOrders;
use crate::daemon::due::SyncFailure;
use crate::daemon::health::{expected, warn_dropped};
use crate::daemon::load::LoadFollower;
use crate::request::Follower;

use crate::daemon::saver::{SaveQueue, Saved, StartSaver};
use crate::digest::SharedDigest;
use crate::fatal::{Exit, Fatal, chain};
use crate::host::clock::now;
use crate::host::systemd::Notify;
use crate::pool::backend_states::BackendStates;
use crate::pool::readiness::Readiness;
use crate::pool::state_since::StateChangeTimes;
use crate::reconcile::forwarding::{self, ForwardingError, versions};
use crate::reconcile::{Outcome, Reconciler, RoundError, Trigger};
use crate::state::sysctls::{SysctlChange, Sysctls};
use crate::status::events::Events;
use crate::status::shared::Shared;
use crate::status::view::Reloads;

/// State of the reconcile task.
pub(crate) struct Daemon<D> {
    pub(crate) file: PathBuf,
    /// The configuration in force. Control socket and state directory stay those of the start.
    pub(crate) config: Config,
    /// The digest of its services.
    pub(crate) digest: SharedDigest,
    /// The states of its backends.
    pub(crate) backend_states: Shared<BackendStates>,
    /// The last runs of hooks.
    pub(crate) hooks: Shared<BTreeMap<ServiceName, HookStatus>>,
    /// The readiness of services, as last published.
    pub(crate) readiness: watch::Sender<Readiness>,
    /// The services that depend on counts of flows.
    pub(crate) load_follower: LoadFollower,
    pub(crate) prober: Prober,
    pub(crate) flows: FlowOrders,
    pub(crate) save_queue: SaveQueue,
    pub(crate) reconciler: Reconciler<D>,
    pub(crate) sysctls: Sysctls,
    pub(crate) byte_totals: ByteTotals,
    /// `None` if accounting is disabled.
    pub(crate) byte_counter: Option<ByteCounter>,
    /// The previous one, if it may still read flows for the last time.
    pub(crate) ending_byte_counter: Option<ByteCounter>,
    pub(crate) notify: Notify,
    pub(crate) started: Timestamp,
    pub(crate) since: Shared<StateChangeTimes>,
    pub(crate) events: Shared<Events>,
    http: HttpServer,
    pub(crate) reload: ReloadStatus,
    pub(crate) reloads: Reloads,
    /// Whether it stops, so that no service is ready.
    pub(crate) is_stopping: bool,
    /// The failure of the last round.
    pub(crate) sync_failure: Option<SyncFailure>,
    /// Forwarding is not as configured. Separate, so that a successful round does not hide it.
    pub(crate) forwarding_failure: Option<SyncFailure>,
    /// The state of backends could not be saved.
    pub(crate) save_failure: Option<SyncFailure>,
    /// Addresses of services are not as they should be.
    pub(crate) announce_failure: Option<SyncFailure>,
    pub(crate) announcements: Announcements,
    /// Addresses that a reload or a stop withdraws.
    pub(crate) withheld: Withheld,
    /// That an operator made the node leave.
    pub(crate) left: Option<NodeLeft>,
    pub(crate) foreign: ForeignChanges,
    /// The state of the followers.
    pub(crate) followers: BTreeMap<Follower, FollowerStatus>,
    /// Time of the last read of the whole table.
    pub(crate) last_read: Instant,
}

/// The effects of the reconcile task beside the ruleset.
pub(crate) struct Effects {
    pub(crate) sysctls: Sysctls,
    pub(crate) notify: Notify,
    pub(crate) prober: Prober,
    pub(crate) flows: FlowCleaner,
    pub(crate) http: HttpServer,
    pub(crate) start_saver: StartSaver,
    pub(crate) announce_queue: AnnounceQueue,
    /// Receives the results of saves.
    pub(crate) results: mpsc::UnboundedSender<(u64, Saved)>,
}

impl<D: Dataplane> Daemon<D> {
    /// Applies a reloaded configuration. An invalid one changes nothing.
    pub(crate) async fn reload(&mut self, loaded: Result<Loaded, Vec<Problem>>) -> ReloadStatus {
        let (mut warnings, invalid) = (vec![], loaded.is_err());
        let applied = match loaded {
            Err(problems) => Err(problems.iter().map(|problem| logged(problem.to_string())).collect()),
            Ok(loaded) => {
                warnings = loaded.warnings.iter().map(ToString::to_string).collect();
                warnings.extend(self.only_at_start(&loaded.config));
                let applied = self.apply_config(loaded.config).await;
                self.release_addresses();
                applied
            }
        };
        warnings.iter().for_each(|warning| warn!("{warning}"));
        let (summary, problems) = match applied {
            Ok(outcome) => (outcome.to_string(), vec![]),
            Err(problems) => (format!("{} as before", self.counts()), problems),
        };
        let (at, ok, generation) = (now(), problems.is_empty(), self.reload.generation + 1);
        self.reload = ReloadStatus { at, ok, invalid, problems, warnings, summary, generation };
        let line = self.summary_line();
        if ok {
            info!("reloaded: {line}");
            (self.reloads.ok, self.reloads.applied) = (self.reloads.ok + 1, at);
            self.events.add(EventKind::Reload, Severity::Info, format!("reloaded: {}", self.reload.summary));
        } else {
            error!("reload failed: {}", self.reload.summary);
            self.reloads.failed += 1;
            let why = self.reload.problems.first().map_or("", String::as_str);
            let text = format!("reload failed, {}: {why}", self.reload.summary);
            self.events.add(EventKind::Reload, Severity::Error, text);
        }
        self.reload.clone()
    }

    /// Applies a new configuration to the kernel. If this fails before the first commit, the
    /// old configuration stays in force.
    async fn apply_config(&mut self, new: Config) -> Result<Outcome, Vec<String>> {
        let new = Config { control: self.config.control.clone(), state: self.config.state.clone(), ..new };
        let change = self
            .http
            .bind(new.http.as_ref())
            .map_err(|error| vec![logged(format!("{} (change it, or free the address)", chain(&error)))])?;
        let forwards = self.ensure_forwarding(new.forwarding, &new.services).await;
        forwards.map_err(|fatal| vec![logged(fatal.to_string())])?;
        if Arc::ptr_eq(&new.services, &self.config.services) {
            return self.apply_settings(new, change).await;
        }
        self.withdraw_before(&new).await;
        let (backend_states, dropped, watches) =
            expected(&self.config.services, &self.backend_states, self.prober.board(), &new.services);
        let held = self.backend_states.effective_services(&self.config.services);
        let transition = Transition::between(held, backend_states.effective_services(&new.services));
        let result = self.reconciler.round(Trigger::Reload, &transition).await;
        if result.as_ref().map_or_else(|error| error.switched, |_| true) {
            self.since.apply(&transition, now());
            self.flows.note(&transition);
            let before = std::mem::replace(&mut self.config, new);
            self.digest = SharedDigest::default();
            self.http.apply(change);
            let states_before = std::mem::replace(&mut self.backend_states, Shared::new(backend_states));
            // Releasing the memory of many services takes a moment.
            drop(spawn_blocking(|| drop((before, states_before))));
            dropped.iter().for_each(warn_dropped);
            self.load_follower.replace(&self.config.services);
            self.watch(watches);
            let settled = self.record_round(Trigger::Reload, result);
            self.ensure_accounting().await;
            self.update_byte_counter();
            // Other services may need another IP version.
            self.check_forwarding().await;
            let followed = self.follow_health().await;
            self.save();
            return settled.and_then(|outcome| followed.map(|()| outcome));
        }
        self.record_round(Trigger::Reload, result)
    }

    /// Applies a configuration with the services in force, whose states stay as they are.
    async fn apply_settings(&mut self, new: Config, change: ListenerChange) -> Result<Outcome, Vec<String>> {
        let held = self.backend_states.effective_services(&self.config.services);
        let result = self.reconciler.round(Trigger::Reload, &Transition::none(held)).await;
        if result.as_ref().map_or_else(|error| error.switched, |_| true) {
            self.config = new;
            self.http.apply(change);
            let settled = self.record_round(Trigger::Reload, result);
            self.ensure_accounting().await;
            self.check_forwarding().await;
            let followed = self.follow_health().await;
            self.save();
            return settled.and_then(|outcome| followed.map(|()| outcome));
        }
        self.record_round(Trigger::Reload, result)
    }

    /// Applies changes of health that came during a round. Returns the problems, one line each.
    async fn follow_health(&mut self) -> Result<(), Vec<String>> {
        let services = self.take_health_changes();
        self.apply_effective(Trigger::Health, &services).await
    }

    /// Checks or enables forwarding as configured.
    async fn ensure_forwarding(&mut self, mode: Forwarding, services: &Services) -> Result<(), Fatal> {
        let changes = forwarding::changes(&self.sysctls, mode, &versions(services));
        let changes = changes.map_err(not_forwarding)?;
        self.change_sysctls(&changes).await.map_err(|error| not_forwarding(error.into()))
    }

    /// Changes sysctls in this order, after their record is written. Changes of health are applied meanwhile.
    async fn change_sysctls(&mut self, changes: &[SysctlChange]) -> Result<(), SysctlError> {
        if let Some(record) = self.sysctls.record(changes)? {
            self.follow_health_until(record.attempted()).await;
        }
        self.sysctls.write(changes)
    }

    fn only_at_start(&self, new: &Config) -> Vec<String> {
        let later = |key: &str, differs: bool| {
            differs.then(|| format!("{}: warning: {key} takes effect at a restart", self.file.display()))
        };
        let control = later("control", new.control != self.config.control);
        control.into_iter().chain(later("state", new.state != self.config.state)).collect()
    }

    /// A full round: reads the table and repairs it, forwarding, accounting and the saved state.
    pub(crate) async fn round(&mut self, trigger: Trigger) {
        self.ensure_host().await;
        let result = self
            .reconciler
            .round(trigger, &Transition::none(self.backend_states.effective_services(&self.config.services)))
            .await;
        self.note_full_round(trigger, result);
    }

    /// Repairs everything but the table.
    async fn ensure_host(&mut self) {
        self.http.retry();
        self.check_forwarding().await;
        self.ensure_accounting().await;
        self.check_addresses();
    }

    fn note_full_round(&mut self, trigger: Trigger, result: Result<Outcome, RoundError>) {
        self.reconciler.save_totals(None);
        // Retries failed writes.
        self.sysctls.save_again();
        self.save();
        // The error was logged and is kept for the status; no client waits for it.
        let _ = self.record_round(trigger, result);
        let line = self.summary_line();
        self.notify.status(&line);
    }

    /// Applies changes of the host's interfaces and addresses.
    pub(crate) async fn networks(&mut self, networks: Networks) {
        self.check_addresses();
        if networks != self.backend_states.networks {
            let before = std::mem::replace(&mut self.backend_states.networks, networks);
            if !self.config.services.values().any(|service| service.source.preserves_client()) {
                return;
            }
            let desired = self.backend_states.effective_services(&self.config.services);
            let transition = Transition::between(desired.with_networks(&before), desired);
            let result = self.reconciler.round(Trigger::Networks, &transition).await;
            let _ = self.record_round(Trigger::Networks, result);
        }
    }

    /// What is written to.
    pub(crate) fn dataplane(&self) -> &D {
        self.reconciler.dataplane()
    }

    /// Whether the daemon owns the table.
    pub(crate) fn owns_table(&self) -> bool {
        self.reconciler.owns_table()
    }

    /// Repairs foreign changes from the time before the subscription.
    pub(crate) async fn catch_up(&mut self) {
        if !self.reconciler.is_current() {
            self.round(Trigger::Foreign).await;
        }
    }

    /// Repairs a foreign change of the table, unless it is repaired already.
    pub(crate) async fn foreign(&mut self, event: Event) {
        let due = match event {
            Event::Lost => {
                warn!("nftables events were lost: reading the whole table");
                true
            }
            Event::Changed(Change { generation, pid, process }) => {
                warn!("table {} was changed by {process} (pid {pid})", Table::NAME);
                let text = format!("table {} was changed by {process} (pid {pid})", Table::NAME);
                self.events.add(EventKind::Foreign, Severity::Warning, text);
                self.foreign.total += 1;
                self.foreign.last = Some(ForeignChange { at: now(), process, pid });
                !self.reconciler.has_seen(generation)
            }
        };
        if due {
            self.round(Trigger::Foreign).await;
        }
    }

    /// Records the state of a follower, which retries by itself.
    pub(crate) fn note_follower(&mut self, follower: Follower, result: Result<(), String>) {
        let (name, error) = (follower.as_str().to_owned(), result.err());
        let before = self.followers.get(&follower);
        let was_lost = before.is_some_and(|before| before.error.is_some());
        let since = match before {
            Some(before) if was_lost == error.is_some() => before.since,
            _ => now(),
        };
        match &error {
            Some(error) if !was_lost => {
                let text = format!("changes of {name} are noticed only at a refresh: {error}");
                self.events.add(EventKind::Sync, Severity::Warning, text);
            }
            None if was_lost => {
                self.events.add(
                    EventKind::Sync,
                    Severity::Info,
                    format!("changes of {name} are noticed again"),
                );
            }
            _ => {}
        }
        self.followers.insert(follower, FollowerStatus { name, error, since });
    }

    /// Still there.
    pub(crate) fn feed_watchdog(&mut self) {
        self.notify.watchdog();
    }

    /// A one-line summary of the state.
    pub(crate) fn summary_line(&self) -> String {
        match (self.out_of_sync(), self.reload.ok) {
            (Some(error), _) => format!("{}, not in sync: {error}", self.counts()),
            (None, true) => format!("{}, in sync", self.counts()),
            (None, false) => {
                let problems = pluralize(self.reload.problems.len(), "problem");
                format!("{}, in sync; reload failed with {problems}", self.counts())
            }
        }
    }

    fn counts(&self) -> String {
        let services = &self.config.services;
        let backends: usize = services.values().map(|service| service.backends.len()).sum();
        format!("{} with {}", pluralize(services.len(), "service"), pluralize(backends, "backend"))
    }
}

/// Logs a problem, and returns it for the status.
fn logged(problem: String) -> String {
    error!("{problem}");
    problem
}

/// The error of a host that does not forward as configured.
fn not_forwarding(error: ForwardingError) -> Fatal {
    let hint = error.hint();
    let exit = if error.is_permission() { Exit::Permission } else { Exit::Runtime };
    Fatal::new(exit, error, hint)
}
