//! [`Board`]: the health of every probed backend.
//!
//! Probe tasks record outcomes at any time. The reconcile task sees the backends that are down as of the last
//! [`Board::take_changes`], so that it commits, shows and compares a consistent state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sluice_core::model::{BackendKey, HealthCheck, Initial, ProbeTarget, ServiceName};
use sluice_core::pool::health::{Health, HealthState};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::outcome::{ProbeOutcome, ProbeResult};
use crate::watched::WatchedBackend;

/// The health of backends; clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Inner>);

/// Backends that get no new flows because of their health: unhealthy, or unknown with `initial: down`.
pub type Down = Arc<BTreeMap<BackendKey, Health>>;

/// A change of the health of a backend since changes were last taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Whether it was up when changes were last taken.
    pub was_up: bool,
    /// Whether it is up now.
    pub is_up: bool,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<BoardState>,
    changed: Notify,
    durations: Durations,
    skipped: Skips,
}

/// Durations of probes, by service.
type Durations = Family<Label, Histogram, fn() -> Histogram>;

/// Numbers of skipped probes, by service.
type Skips = Family<Label, Counter>;

type Label = [(&'static str, String); 1];

impl Default for Inner {
    fn default() -> Self {
        // From 0.25 ms to more than a minute.
        let histogram = || Histogram::new(exponential_buckets(2.5e-4, 4.0, 10));
        let (state, changed, skipped) = Default::default();
        Inner { state, changed, durations: Family::new_with_constructor(histogram), skipped }
    }
}

#[derive(Debug, Default)]
struct BoardState {
    backends: HashMap<BackendKey, ProbedBackend>,
    /// Backends whose health changed since changes were last taken.
    changed: BTreeSet<BackendKey>,
    /// Backends that were down when changes were last taken.
    down: Down,
}

/// One backend.
#[derive(Clone, Debug)]
struct ProbedBackend {
    target: ProbeTarget,
    check: Arc<HealthCheck>,
    /// The running probe; outcomes of others are ignored.
    job: JobId,
    machine: HealthState,
    /// Success or failure, and the number of consecutive ones.
    streak: (bool, u16),
    since: Timestamp,
    last: Option<LastProbe>,
}

/// Identifies a running probe, so that a late outcome of an ended one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(pub(crate) u64);

/// The last probe of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastProbe {
    /// Success or failure.
    pub verdict: ProbeResult,
    /// The attempt and its result.
    pub detail: String,
    /// Time of the outcome.
    pub at: Timestamp,
    /// Duration of the probe.
    pub took: Duration,
    /// Consecutive results like this one, and the threshold (`rise` or `fall`).
    pub in_a_row: (u16, u16),
}

/// The health of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    /// Observed health.
    pub health: Health,
    /// Whether it permits new flows.
    pub is_up: bool,
    /// Time when the health last changed, or when probing began.
    pub since: Timestamp,
    /// The last probe; `None`: none yet.
    pub last: Option<LastProbe>,
}

impl Board {
    /// Waits until there are changes to take.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until there are changes to take, but leaves them to [`Board::changed`].
    pub async fn has_changes(&self) {
        self.changed().await;
        self.0.changed.notify_one();
    }

    /// Backends whose health changed since the last call. [`Board::down`] reflects these changes from now on.
    pub fn take_changes(&self) -> BTreeMap<BackendKey, Flip> {
        let mut state = self.state();
        let BoardState { backends, changed, down } = &mut *state;
        let mut flips = BTreeMap::new();
        for key in std::mem::take(changed) {
            let Some(entry) = backends.get(&key) else { continue };
            let (was, health) = (down.get(&key).copied(), entry.machine.health());
            let flip = Flip { was_up: was.is_none(), is_up: entry.machine.is_up() };
            if flip.is_up && !flip.was_up {
                Arc::make_mut(down).remove(&key);
            } else if !flip.is_up && was != Some(health) {
                Arc::make_mut(down).insert(key.clone(), health);
            }
            flips.insert(key, flip);
        }
        flips
    }

    /// Backends that were down when changes were last taken.
    pub fn down(&self) -> Down {
        self.state().down.clone()
    }

    /// The value of [`Board::down`] once exactly these backends are watched.
    pub fn preview(&self, backends: &[WatchedBackend]) -> Down {
        self.state().down_after(backends)
    }

    /// The health of a backend; `None` if it is not probed.
    pub fn report(&self, key: &BackendKey) -> Option<BackendHealth> {
        let state = self.state();
        let ProbedBackend { machine, since, last, .. } = state.backends.get(key)?;
        Some(BackendHealth {
            health: machine.health(),
            is_up: machine.is_up(),
            since: *since,
            last: last.clone(),
        })
    }

    /// Replaces the set of backends, each with its running probe.
    pub(crate) fn watch(&self, backends: &[(WatchedBackend, JobId)]) {
        let mut state = self.state();
        let watches = || backends.iter().map(|(watch, _)| watch);
        let down = state.down_after(watches());
        // Two backends may have swapped names.
        let entries: Vec<_> =
            backends.iter().filter_map(|(watch, job)| Some((watch, state.entry(watch, *job)?))).collect();
        let was_changed =
            |watch: &&WatchedBackend| watch.from.as_ref().is_some_and(|from| state.changed.contains(from));
        let changed = watches().filter(was_changed).map(|watch| watch.key.clone()).collect();
        let before: BTreeSet<_> = state.backends.keys().map(|key| key.service.clone()).collect();
        let after: BTreeSet<_> = watches().map(|watch| &watch.key.service).collect();
        for gone in before.iter().filter(|service| !after.contains(service)) {
            self.0.durations.remove(&label(gone));
            self.0.skipped.remove(&label(gone));
        }
        let keys: HashSet<_> = watches().map(|watch| &watch.key).collect();
        (state.changed, state.down) = (changed, down);
        state.backends.retain(|key, _| keys.contains(key));
        state.backends.extend(entries.into_iter().map(|(watch, entry)| (watch.key.clone(), entry)));
    }

    /// Backends whose health differs from the initial one, and whether they are up.
    pub fn known(&self) -> Vec<(BackendKey, ProbeTarget, bool)> {
        let state = self.state();
        let known = state.backends.iter().filter_map(|(key, entry)| {
            let ProbedBackend { target, check, machine, .. } = entry;
            let is_news =
                machine.health() != Health::Unknown && machine.is_up() != (check.initial == Initial::Up);
            is_news.then(|| (key.clone(), *target, machine.is_up()))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        known
    }

    /// Records an outcome for all backends of the probe.
    pub(crate) fn observe(&self, keys: &[BackendKey], job: JobId, outcome: &ProbeOutcome) {
        let mut state = self.state();
        let BoardState { backends, changed, .. } = &mut *state;
        let before = changed.len();
        let services: BTreeSet<_> = keys.iter().map(|key| &key.service).collect();
        let is_skipped = outcome.verdict == ProbeResult::Skipped;
        for service in services {
            let label = label(service);
            self.0.durations.get_or_create(&label).observe(outcome.took.as_secs_f64());
            self.0.skipped.get_or_create(&label).inc_by(is_skipped.into());
        }
        for key in keys {
            let entry = backends.get_mut(key).filter(|entry| entry.job == job);
            if entry.is_some_and(|entry| entry.observe(key, outcome)) {
                changed.insert(key.clone());
            }
        }
        if changed.len() > before {
            self.0.changed.notify_one();
        }
    }

    /// Registers the metrics of probes.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Duration of a probe";
        registry.register_with_unit("probe_duration", help, Unit::Seconds, self.0.durations.clone());
        let help =
            "Probes that did not run, or not in time, for a reason on this host; health does not change";
        registry.register("probes_skipped", help, self.0.skipped.clone());
    }

    fn state(&self) -> MutexGuard<'_, BoardState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(service: &ServiceName) -> Label {
    [("service", service.to_string())]
}

impl BoardState {
    /// Those that are down once these are watched. Who goes on with what is known of a backend is down if that was.
    fn down_after<'a>(&self, backends: impl IntoIterator<Item = &'a WatchedBackend>) -> Down {
        let down = |watch: &WatchedBackend| match self.continued(watch) {
            Some((from, _)) => self.down.get(from).copied(),
            None => Some(begun(watch)).filter(|machine| !machine.is_up()).map(|machine| machine.health()),
        };
        Arc::new(backends.into_iter().filter_map(|watch| Some((watch.key.clone(), down(watch)?))).collect())
    }

    /// What a backend is known by from now on; `None`: by what it is known by already.
    fn entry(&self, watch: &WatchedBackend, job: JobId) -> Option<ProbedBackend> {
        let WatchedBackend { key, target, check, .. } = watch;
        let (target, check) = (*target, check.clone());
        let Some((from, entry)) = self.continued(watch) else {
            let machine = begun(watch);
            let (streak, since) = ((true, 0), Timestamp::now());
            return Some(ProbedBackend { target, check, job, machine, streak, since, last: None });
        };
        let is_same = entry.target == target && entry.check == check;
        match is_same {
            true if from == key && entry.job == job => None,
            true => Some(ProbedBackend { job, ..entry.clone() }),
            false => {
                let (machine, since) = (entry.machine.under(&check), entry.since);
                Some(ProbedBackend { target, check, job, machine, streak: (true, 0), since, last: None })
            }
        }
    }

    /// A backend under its new name.
    fn continued<'a>(&'a self, watch: &'a WatchedBackend) -> Option<(&'a BackendKey, &'a ProbedBackend)> {
        let from = watch.from.as_ref()?;
        Some((from, self.backends.get(from)?))
    }
}

/// The initial health of a new backend.
fn begun(WatchedBackend { check, known, served, .. }: &WatchedBackend) -> HealthState {
    if *served { HealthState::serving(check) } else { HealthState::new(check, *known) }
}

impl ProbedBackend {
    /// Records an outcome; `true` if the health changed.
    fn observe(&mut self, key: &BackendKey, outcome: &ProbeOutcome) -> bool {
        let ProbeOutcome { verdict, detail, took } = outcome;
        let BackendKey { service, backend } = key;
        let was_made = self.last.as_ref().is_none_or(|last| last.verdict != ProbeResult::Skipped);
        let success = *verdict == ProbeResult::Success;
        if *verdict != ProbeResult::Skipped {
            let before = if self.streak.0 == success { self.streak.1 } else { 0 };
            self.streak = (success, before.saturating_add(1));
        }
        let needed = if self.streak.0 { self.check.rise } else { self.check.fall };
        let count = self.streak.1.min(needed);
        let at = Timestamp::now();
        let (verdict, in_a_row) = (*verdict, (count, needed));
        self.last = Some(LastProbe { verdict, detail: detail.clone(), at, took: *took, in_a_row });
        let changed = match verdict {
            ProbeResult::Skipped => {
                if was_made {
                    warn!("probe of {service}/{backend} could not run: {detail}");
                }
                false
            }
            ProbeResult::Success | ProbeResult::Failure => self.machine.observe(success),
        };
        if changed {
            self.since = at;
            match self.machine.health() {
                Health::Unhealthy => warn!("{service}/{backend} is unhealthy: {detail}, {count} of {needed}"),
                _ => info!("{service}/{backend} is healthy: {detail}"),
            }
        } else {
            debug!("probed {service}/{backend}: {detail}");
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::model::{BackendName, Probe};

    use super::*;

    #[test]
    fn outcome_of_a_probe_that_was_replaced_does_not_count() {
        let second = Duration::from_secs(1);
        let check = HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
            initial: Initial::Up,
        };
        let [service, backend] = ["web", "b"];
        let key = BackendKey {
            service: ServiceName::new(service).unwrap(),
            backend: BackendName::new(backend).unwrap(),
        };
        let watch = WatchedBackend {
            key: key.clone(),
            target: ProbeTarget { address: [10, 0, 2, 11].into(), port: 80 },
            check: Arc::new(check),
            from: Some(key.clone()),
            served: false,
            known: Health::Unknown,
        };
        let board = Board::default();
        let (old, new) = (JobId(1), JobId(2));
        board.watch(&[(watch.clone(), old)]);
        board.watch(&[(watch, new)]);
        let failure = ProbeOutcome { verdict: ProbeResult::Failure, detail: String::new(), took: second };
        board.observe(std::slice::from_ref(&key), old, &failure);
        assert_eq!(board.report(&key).unwrap().health, Health::Unknown);
        assert_eq!(board.take_changes(), BTreeMap::new());
        board.observe(std::slice::from_ref(&key), new, &failure);
        assert_eq!(board.report(&key).unwrap().health, Health::Unhealthy);
    }
}
