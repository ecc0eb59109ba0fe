//! The health of every probed backend.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sluice_core::health::{Health, Machine};
use sluice_core::model::{BackendKey, HealthCheck, Initial, ProbeTarget, ServiceName};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::outcome::{Outcome, Verdict};

/// What is known of backends; clones are the same board.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    durations: Durations,
}

/// How long probes take, by service.
type Durations = Family<Label, Histogram, fn() -> Histogram>;

type Label = [(&'static str, String); 1];

impl Default for Inner {
    fn default() -> Self {
        // A quarter of a millisecond to more than a minute.
        let histogram = || Histogram::new(exponential_buckets(2.5e-4, 4.0, 10));
        let (state, changed) = Default::default();
        Inner { state, changed, durations: Family::new_with_constructor(histogram) }
    }
}

#[derive(Debug, Default)]
struct State {
    backends: HashMap<BackendKey, Entry>,
    changed: BTreeSet<BackendKey>,
}

/// One backend.
#[derive(Debug)]
struct Entry {
    target: ProbeTarget,
    check: Arc<HealthCheck>,
    machine: Machine,
    /// Successes or failures in a row.
    streak: (bool, u16),
    since: Timestamp,
    last: Option<Last>,
}

/// The last outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// What it says of the backend.
    pub verdict: Verdict,
    /// What was tried and what came of it.
    pub detail: String,
    /// When it was known.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How many successes or failures there were in a row, and how many make a difference.
    pub in_a_row: (u16, u16),
}

/// What is known of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its health.
    pub health: Health,
    /// Whether that lets it take new flows.
    pub is_up: bool,
    /// When health last changed, or it was first asked for.
    pub since: Timestamp,
    /// The last outcome; `None`: there was none yet.
    pub last: Option<Last>,
}

impl Board {
    /// Waits until there are changes to take.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Backends whose health changed since this was last asked.
    pub fn take_changes(&self) -> BTreeSet<BackendKey> {
        std::mem::take(&mut self.state().changed)
    }

    /// What is known of one backend; `None` if it is not probed.
    pub fn report(&self, key: &BackendKey) -> Option<Report> {
        let state = self.state();
        let Entry { machine, since, last, .. } = state.backends.get(key)?;
        Some(Report { health: machine.health(), is_up: machine.is_up(), since: *since, last: last.clone() })
    }

    /// Begins to keep a backend that is probed like this, or goes on with it if it was before.
    pub(crate) fn keep(
        &self,
        key: &BackendKey,
        target: ProbeTarget,
        check: &Arc<HealthCheck>,
        known: Health,
    ) {
        let mut state = self.state();
        let same = state.backends.get(key).filter(|entry| entry.target == target && entry.check == *check);
        if same.is_none() {
            let machine = Machine::new(check, known);
            let entry = Entry {
                target,
                check: check.clone(),
                machine,
                streak: (true, 0),
                since: Timestamp::now(),
                last: None,
            };
            state.backends.insert(key.clone(), entry);
        }
    }

    /// Forgets all others.
    pub(crate) fn retain(&self, keys: &BTreeSet<BackendKey>) {
        let mut state = self.state();
        let before: BTreeSet<_> = state.backends.keys().map(|key| key.service.clone()).collect();
        state.backends.retain(|key, _| keys.contains(key));
        let after: BTreeSet<_> = keys.iter().map(|key| &key.service).collect();
        for gone in before.iter().filter(|service| !after.contains(service)) {
            self.0.durations.remove(&label(gone));
        }
        state.changed.retain(|key| keys.contains(key));
    }

    /// Backends whose health is not what is assumed without a probe, and whether they are up.
    pub fn known(&self) -> Vec<(BackendKey, ProbeTarget, bool)> {
        let state = self.state();
        let known = state.backends.iter().filter_map(|(key, entry)| {
            let Entry { target, check, machine, .. } = entry;
            let is_news =
                machine.health() != Health::Unknown && machine.is_up() != (check.initial == Initial::Up);
            is_news.then(|| (key.clone(), *target, machine.is_up()))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        known
    }

    /// Takes an outcome for all backends that it speaks of, if they are still at that target.
    pub(crate) fn observe(&self, keys: &[BackendKey], target: ProbeTarget, outcome: &Outcome) {
        let mut state = self.state();
        let State { backends, changed } = &mut *state;
        let before = changed.len();
        let services: BTreeSet<_> = keys.iter().map(|key| &key.service).collect();
        for service in services {
            self.0.durations.get_or_create(&label(service)).observe(outcome.took.as_secs_f64());
        }
        for key in keys {
            let entry = backends.get_mut(key).filter(|entry| entry.target == target);
            if entry.is_some_and(|entry| entry.observe(key, outcome)) {
                changed.insert(key.clone());
            }
        }
        if changed.len() > before {
            self.0.changed.notify_one();
        }
    }

    /// Adds how long probes take to what is shown.
    pub fn register(&self, registry: &mut Registry) {
        let help = "From the beginning of a probe to its end";
        registry.register_with_unit("probe_duration", help, Unit::Seconds, self.0.durations.clone());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(service: &ServiceName) -> Label {
    [("service", service.to_string())]
}

impl Entry {
    /// Takes an outcome; `true` if health changed with it.
    fn observe(&mut self, key: &BackendKey, outcome: &Outcome) -> bool {
        let Outcome { verdict, detail, took } = outcome;
        let BackendKey { service, backend } = key;
        let was_made = self.last.as_ref().is_none_or(|last| last.verdict != Verdict::NotMade);
        let success = *verdict == Verdict::Success;
        if *verdict != Verdict::NotMade {
            let before = if self.streak.0 == success { self.streak.1 } else { 0 };
            self.streak = (success, before.saturating_add(1));
        }
        let needed = if self.streak.0 { self.check.rise } else { self.check.fall };
        let count = self.streak.1.min(needed);
        let at = Timestamp::now();
        let (verdict, in_a_row) = (*verdict, (count, needed));
        self.last = Some(Last { verdict, detail: detail.clone(), at, took: *took, in_a_row });
        let changed = match verdict {
            Verdict::NotMade => {
                if was_made {
                    warn!("probe {service}/{backend} could not be made: {detail}");
                }
                false
            }
            Verdict::Success | Verdict::Failure => self.machine.observe(success),
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
