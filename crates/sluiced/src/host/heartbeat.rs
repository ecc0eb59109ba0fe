//! [`Heartbeat`]: signs of life of the worker threads, which run all probes and timers.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Beats as long as the worker threads run tasks and timers; the reconcile task, which feeds the watchdog at each beat, has
/// the main thread. The watchdog is therefore fed only if both sides live.
#[derive(Debug)]
pub(crate) struct Heartbeat(Option<(Arc<Notify>, AbortHandle)>);

impl Heartbeat {
    /// Starts the task, which beats twice within the timeout of the watchdog; without a watchdog it never beats.
    pub(crate) fn start(watchdog: Option<Duration>) -> Self {
        Heartbeat(watchdog.map(|limit| {
            let beat = Arc::new(Notify::new());
            (beat.clone(), tokio::spawn(run(limit / 2, beat)).abort_handle())
        }))
    }

    /// Waits for the next beat.
    pub(crate) async fn beat(&self) {
        match &self.0 {
            Some((beat, _)) => beat.notified().await,
            None => pending().await,
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}

async fn run(every: Duration, beat: Arc<Notify>) {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        beat.notify_one();
    }
}
