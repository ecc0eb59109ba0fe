//! Which probes run, and when.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_core::health::Health;
use sluice_core::model::{BackendKey, HealthCheck, Probe, ProbeTarget};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::attempt;
use crate::board::{Board, JobId};
use crate::outcome::Outcome;
use crate::schedule::Schedule;

/// Makes one attempt: [`attempt`], or what stands in for the network in a test.
pub type Attempt =
    Arc<dyn Fn(Probe, ProbeTarget, Duration) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// A backend to be probed.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Which.
    pub key: BackendKey,
    /// Where it is asked.
    pub target: ProbeTarget,
    /// How.
    pub check: Arc<HealthCheck>,
    /// The backend that it is, by the name that this has had so far; what is known of that is known of it. `None`, or one
    /// that is not watched: a new one.
    pub from: Option<BackendKey>,
    /// Whether it took new flows without a probe until now. It goes on until its check has had its say.
    pub served: bool,
    /// Health of a new one.
    pub known: Health,
}

/// Runs probes on the runtime that it is used in, until it is dropped.
pub struct Prober {
    board: Board,
    attempt: Attempt,
    /// Decides when within an interval each target is asked.
    seed: u64,
    running: HashMap<Job, Running>,
    /// Probes begun so far.
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

/// What makes two probes the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    target: ProbeTarget,
    probe: Probe,
    interval: Duration,
    timeout: Duration,
}

/// A task, and the backends that its outcomes speak of.
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
        let attempt: Attempt = Arc::new(|probe, target, timeout| {
            Box::pin(async move { attempt(&probe, target, timeout).await })
        });
        Prober::with(attempt, RandomState::new().hash_one(0))
    }

    /// The same with another way to make an attempt, and a seed by which probes spread over their intervals.
    pub fn with(attempt: Attempt, seed: u64) -> Self {
        Prober { board: Board::default(), attempt, seed, running: HashMap::new(), begun: 0 }
    }

    /// Where outcomes go.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Probes these backends and no others. What is known of a backend stays, whatever else changes; its schedule and
    /// the results in a row stay if it is probed like that already. One probe serves all backends that ask the same of the
    /// same target.
    pub fn watch(&mut self, wanted: Vec<Watch>) {
        let mut jobs: HashMap<Job, (JobId, Vec<BackendKey>)> = HashMap::new();
        let mut watched = Vec::with_capacity(wanted.len());
        for watch in wanted {
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
        self.board.watch(&watched);
        let mut jobs: Vec<_> = jobs.into_iter().collect();
        // So that probes of one file begin in the same order each time.
        jobs.sort_unstable_by_key(|(_, (id, _))| *id);
        for (job, (id, keys)) in jobs {
            let keys: Arc<[BackendKey]> = keys.into();
            match self.running.get(&job) {
                Some(running) => *running.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys,
                None => {
                    let keys = Arc::new(Mutex::new(keys));
                    let mut hasher = DefaultHasher::new();
                    (self.seed, &job).hash(&mut hasher);
                    let schedule = Schedule::new(job.interval, Instant::now(), hasher.finish());
                    let attempt = self.attempt.clone();
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
            Probe::Exec(command) => {
                let filled = command.iter().map(|word| {
                    word.replace("{address}", &target.address.to_string())
                        .replace("{port}", &target.port.to_string())
                        .replace("{service}", key.service.as_str())
                        .replace("{backend}", key.backend.as_str())
                });
                Probe::Exec(filled.collect())
            }
            probe => probe.clone(),
        };
        Job { target, probe, interval: check.interval, timeout: check.timeout }
    }

    /// An attempt that takes longer than the interval is followed by the next one that is due.
    async fn run(
        self,
        id: JobId,
        mut schedule: Schedule,
        attempt: Attempt,
        board: Board,
        keys: Arc<Mutex<Arc<[BackendKey]>>>,
    ) {
        loop {
            sleep_until(schedule.next(Instant::now())).await;
            let outcome = attempt(self.probe.clone(), self.target, self.timeout).await;
            let keys = keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
            board.observe(&keys, id, &outcome);
        }
    }
}
