//! [`Timings`]: durations of rounds and commits, for the metrics.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::reconcile::Trigger;

type Label = [(&'static str, String); 1];

/// Histograms of rounds and commits. Clones are the same.
#[derive(Clone, Debug)]
pub struct Timings {
    rounds: Family<Label, Histogram, fn() -> Histogram>,
    commits: Histogram,
    failures: Counter,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            rounds: Family::new_with_constructor(histogram),
            commits: histogram(),
            failures: Counter::default(),
        }
    }
}

impl Timings {
    pub(crate) fn round(&self, trigger: Trigger, took: Duration, done: bool) {
        let label = [("trigger", trigger.to_string())];
        self.rounds.get_or_create(&label).observe(took.as_secs_f64());
        if !done {
            self.failures.inc();
        }
    }

    pub(crate) fn commit(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Registers the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let rounds = "Duration of a reconcile round, from trigger to verification, successful or not";
        registry.register_with_unit("reconcile_duration", rounds, Unit::Seconds, self.rounds.clone());
        let commits = "Duration of a successful commit";
        registry.register_with_unit("commit_duration", commits, Unit::Seconds, self.commits.clone());
        let failures = "Reconcile rounds that failed; they are retried";
        registry.register("reconcile_failures", failures, self.failures.clone());
    }
}

/// Buckets from 0.1 ms to 26 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 4.0, 10))
}
