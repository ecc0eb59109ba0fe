//! [`Discovery`]: one task per distinct lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sluice_core::model::{Answer, Lookup, Resolver};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::answers::{Answers, TaskId};
use crate::files::Files;
use crate::progress::Finished;
use crate::reply::Ask;
use crate::system;

/// Time after which files are read again, whether a change was noticed or not.
const REFRESH: Duration = Duration::from_secs(30);

/// After a change files are read when there was no other one for this time,
const DEBOUNCE: Duration = Duration::from_millis(50);

/// or after this time at the latest.
const LONGEST_DEBOUNCE: Duration = Duration::from_millis(500);

/// Repeats lookups on the current runtime until it is dropped.
pub struct Discovery {
    answers: Answers,
    ask: Ask,
    /// What wakes the tasks of files.
    files: Option<Files>,
    resolver: Arc<Resolver>,
    refresh: Option<Duration>,
    /// Spreads queries.
    seed: u64,
    running: BTreeMap<Lookup, Running>,
    /// Number of started tasks.
    begun: u64,
}

/// A task that is aborted when it is dropped.
#[derive(Debug)]
struct Running {
    id: TaskId,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl Discovery {
    /// Asks DNS servers, and those of `/etc/resolv.conf` if the resolver names none, and watches files.
    pub fn system() -> Self {
        Discovery::with_resolv_conf("/etc/resolv.conf".into())
    }

    /// The same with another file instead of `/etc/resolv.conf`.
    pub fn with_resolv_conf(path: PathBuf) -> Self {
        let files = Files::new();
        Discovery { files: Some(files.clone()), ..Discovery::new(system::ask(path, files)) }
    }

    /// Asks something else. Nothing is asked yet.
    pub fn new(ask: Ask) -> Self {
        Discovery {
            answers: Answers::default(),
            ask,
            files: None,
            resolver: Arc::default(),
            refresh: Some(REFRESH),
            seed: RandomState::new().hash_one(0),
            running: BTreeMap::new(),
            begun: 0,
        }
    }

    /// Files are read again after this time even if no change was noticed; `None`: never. The default is 30 s.
    pub fn with_refresh(self, refresh: Option<Duration>) -> Self {
        Discovery { refresh, ..self }
    }

    /// Another seed for the times of queries.
    pub fn with_seed(self, seed: u64) -> Self {
        Discovery { seed, ..self }
    }

    /// The answers.
    pub fn board(&self) -> &Answers {
        &self.answers
    }

    /// Answers of an earlier run, for the lookups of the next [`Discovery::watch`]. They are in force until there is a
    /// newer one, and stale until then.
    pub fn restore(&mut self, answers: BTreeMap<Lookup, (Arc<Answer>, Timestamp)>) {
        self.answers.restore(answers);
    }

    /// Repeats these lookups and no others. What is known of a lookup stays, and so does its schedule, unless the settings
    /// of the resolver changed: then all are asked again at once.
    pub fn watch(&mut self, resolver: &Resolver, lookups: BTreeSet<Lookup>) {
        if *self.resolver != *resolver {
            self.resolver = Arc::new(resolver.clone());
            self.running.clear();
        }
        self.running.retain(|lookup, _| lookups.contains(lookup));
        let started: Vec<_> = lookups.iter().filter(|lookup| !self.running.contains_key(lookup)).collect();
        let mut ids: BTreeMap<_, _> =
            self.running.iter().map(|(lookup, running)| (lookup.clone(), running.id)).collect();
        let first = self.begun + 1;
        self.begun += started.len() as u64;
        let new = (first..).map(TaskId).zip(started);
        ids.extend(new.clone().map(|(id, lookup)| (lookup.clone(), id)));
        self.answers.watch(ids);
        if let Some(files) = &self.files {
            files.watch(&lookups.iter().filter_map(pattern).collect::<BTreeSet<&Path>>());
        }
        for (id, lookup) in new {
            let job = Job {
                id,
                lookup: lookup.clone(),
                ask: self.ask.clone(),
                answers: self.answers.clone(),
                resolver: self.resolver.clone(),
                refresh: self.refresh,
                seed: self.seed,
                woken: pattern(lookup)
                    .and_then(|pattern| self.files.as_ref()?.changed(pattern))
                    .unwrap_or_default(),
            };
            let task = tokio::spawn(job.run()).abort_handle();
            self.running.insert(lookup.clone(), Running { id, task });
        }
    }
}

fn pattern(lookup: &Lookup) -> Option<&Path> {
    match lookup {
        Lookup::Files(pattern) => Some(pattern),
        Lookup::Host(..) | Lookup::Srv(..) => None,
    }
}

/// What a task needs.
struct Job {
    id: TaskId,
    lookup: Lookup,
    ask: Ask,
    answers: Answers,
    resolver: Arc<Resolver>,
    refresh: Option<Duration>,
    seed: u64,
    /// By a change of a file.
    woken: Arc<Notify>,
}

impl Job {
    /// Asks for ever.
    async fn run(self) {
        for round in 0u64.. {
            let begun = Instant::now();
            let result = (self.ask)(self.resolver.clone(), self.lookup.clone()).await;
            let now = Instant::now();
            let finished = Finished {
                lookup: &self.lookup,
                result,
                took: now - begun,
                at: Timestamp::now(),
                now,
                resolver: &self.resolver,
                refresh: self.refresh,
                unit: self.unit(round),
            };
            let wait = self.answers.observe(self.id, finished);
            let over = async {
                match wait {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                () = self.woken.notified() => self.settle().await,
            }
        }
    }

    /// Waits until the files change no more, but not for ever.
    async fn settle(&self) {
        let latest = Instant::now() + LONGEST_DEBOUNCE;
        loop {
            let quiet = (Instant::now() + DEBOUNCE).min(latest);
            if timeout_at(quiet, self.woken.notified()).await.is_err() {
                return;
            }
        }
    }

    /// A number in `0.0..1.0` that differs between lookups and rounds.
    fn unit(&self, round: u64) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, &self.lookup, round).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}
