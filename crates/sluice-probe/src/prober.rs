//! [`Prober`]: one task per distinct target and check.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_core::model::{BackendKey, ExecProbe, HealthCheck, Probe, ProbeTarget, ServiceName};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::attempt;
use crate::board::{Board, JobId};
use crate::outcome::ProbeOutcome;
use crate::schedule::Schedule;
use crate::slots::Slots;
use crate::watched::WatchedBackend;

/// Runs one attempt: [`attempt`], or a stand-in for the network in tests.
pub type Attempt = Arc<
    dyn Fn(Probe, ProbeTarget, Duration, Slots) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>>
        + Send
        + Sync,
>;

/// Runs probes on the current runtime until it is dropped.
pub struct Prober {
    board: Board,
    attempt: Attempt,
    /// Seed of the phases within an interval.
    seed: u64,
    running: HashMap<Job, Running>,
    /// For the programs of each service.
    slots: HashMap<ServiceName, Slots>,
    /// Number of started probes.
    begun: u64,
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl Default for Prober {
    fn default() -> Self {
        Prober::new()
    }
}

/// Backends with an equal key share a probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    target: ProbeTarget,
    probe: Probe,
    interval: Duration,
    timeout: Duration,
}

/// A probe task, and its backends.
#[derive(Debug)]
struct Running {
    id: JobId,
    task: AbortHandle,
    keys: Arc<Mutex<Arc<[BackendKey]>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    /// Nothing is probed yet.
    pub fn new() -> Self {
        let attempt: Attempt = Arc::new(|probe, target, timeout, slots| {
            Box::pin(async move { attempt(&probe, target, timeout, &slots).await })
        });
        Prober::with(attempt, RandomState::new().hash_one(0))
    }

    /// A prober with another attempt function, and a seed for the phases of probes.
    pub fn with(attempt: Attempt, seed: u64) -> Self {
        Prober {
            board: Board::default(),
            attempt,
            seed,
            running: HashMap::new(),
            slots: HashMap::new(),
            begun: 0,
        }
    }

    /// The board with the outcomes.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Probes these backends and no others. What is known of a backend stays, whatever else changes; its schedule and
    /// the results in a row stay if it is probed like that already. One probe serves all backends that ask the same of the
    /// same target.
    pub fn watch(&mut self, backends: Vec<WatchedBackend>) {
        let mut jobs: HashMap<Job, (JobId, Vec<BackendKey>)> = HashMap::new();
        let mut watched = Vec::with_capacity(backends.len());
        for watch in backends {
            let job = Job::new(&watch.key, watch.target, &watch.check);
            let (id, keys) = jobs.entry(job).or_insert_with_key(|job| {
                let id = self.running.get(job).map(|running| running.id).unwrap_or_else(|| {
                    self.begun += 1;
                    JobId(self.begun)
                });
                (id, vec![])
            });
            keys.push(watch.key.clone());
            watched.push((watch, *id));
        }
        self.running.retain(|job, _| jobs.contains_key(job));
        let services: HashSet<_> = watched.iter().map(|(watch, _)| &watch.key.service).collect();
        self.slots.retain(|service, _| services.contains(service));
        self.board.watch(&watched);
        let mut jobs: Vec<_> = jobs.into_iter().collect();
        // So that probes of one file begin in the same order each time.
        jobs.sort_unstable_by_key(|(_, (id, _))| *id);
        for (job, (id, keys)) in jobs {
            let keys: Arc<[BackendKey]> = keys.into();
            match self.running.get(&job) {
                Some(running) => *running.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys,
                None => {
                    // Services that share a probe share the slots of one of them.
                    let slots = self.slots.entry(keys[0].service.clone()).or_default().clone();
                    let keys = Arc::new(Mutex::new(keys));
                    let mut hasher = DefaultHasher::new();
                    (self.seed, &job).hash(&mut hasher);
                    let schedule = Schedule::new(job.interval, Instant::now(), hasher.finish());
                    let attempt = self.attempt.clone();
                    let attempt =
                        move |job: &Job| attempt(job.probe.clone(), job.target, job.timeout, slots.clone());
                    let run = job.clone().run(id, schedule, attempt, self.board.clone(), keys.clone());
                    let task = tokio::spawn(run).abort_handle();
                    self.running.insert(job, Running { id, task, keys });
                }
            }
        }
    }
}

impl Job {
    fn new(key: &BackendKey, target: ProbeTarget, check: &HealthCheck) -> Self {
        let probe = match &check.probe {
            Probe::Exec(ExecProbe { command, keep_capabilities }) => {
                let filled = command.iter().map(|word| {
                    word.replace("{address}", &target.address.to_string())
                        .replace("{port}", &target.port.to_string())
                        .replace("{service}", key.service.as_str())
                        .replace("{backend}", key.backend.as_str())
                });
                Probe::Exec(ExecProbe { command: filled.collect(), keep_capabilities: *keep_capabilities })
            }
            probe => probe.clone(),
        };
        Job { target, probe, interval: check.interval, timeout: check.timeout }
    }

    /// Probes the target for ever. An attempt longer than the interval delays the next one.
    async fn run(
        self,
        id: JobId,
        mut schedule: Schedule,
        attempt: impl Fn(&Job) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>>,
        board: Board,
        keys: Arc<Mutex<Arc<[BackendKey]>>>,
    ) {
        loop {
            sleep_until(schedule.next(Instant::now())).await;
            let outcome = attempt(&self).await;
            let keys = keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
            board.observe(&keys, id, &outcome);
        }
    }
}
