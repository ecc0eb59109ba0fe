//! [`Saver`]: writes the state directory on its own thread.
//!
//! The reconcile task orders a save after the kernel has the change, and continues: a slow disk delays no health change.
//! A newer order replaces a waiting one, so a slow disk gets one write at a time, however much changes meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_api::NodeLeft;
use sluice_core::model::Services;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::error;

use crate::counters::writer::TotalsWriter;
use crate::host::threads;
use crate::state::RecordWriter;
use crate::state::backends::{BackendStateFile, SavedHealth, SavedOverride, SavedQuorum};

/// Time after which a pending write is reported as a problem.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The result of saving the state of backends.
pub(crate) type Saved = Result<(), String>;

/// Why a change was not saved; `None` if it was.
pub(crate) async fn not_remembered(saved: oneshot::Receiver<Saved>) -> Option<String> {
    match timeout(PATIENCE, saved).await {
        Ok(Ok(saved)) => saved.err(),
        Ok(Err(_closed)) => Some("no thread saves the state of backends".to_owned()),
        Err(_elapsed) => {
            Some(format!("the write to the state directory is pending for {} s", PATIENCE.as_secs()))
        }
    }
}

/// Starts a [`Saver`]: on a thread, or in another way in tests.
pub type StartSaver = Box<dyn FnOnce(Saver)>;

/// Orders saves of the state of backends, for the reconcile task.
#[derive(Debug)]
pub(crate) struct SaveQueue {
    due: Arc<Mutex<Due>>,
    wake: mpsc::UnboundedSender<()>,
    /// Number of orders without a result, and since when there are any.
    waiting: u64,
    since: Instant,
}

/// The waiting order.
#[derive(Debug, Default)]
struct Due {
    newest: Option<SaveOrder>,
    /// Whether to retry also after a recent failure, because a client waits for the result.
    retries: bool,
    waiting: Vec<oneshot::Sender<Saved>>,
}

/// An order to save the state of the backends of these services.
#[derive(Debug)]
pub(crate) struct SaveOrder {
    pub(crate) services: Arc<Services>,
    pub(crate) overrides: Vec<SavedOverride>,
    pub(crate) health: Vec<SavedHealth>,
    pub(crate) quorums: Vec<SavedQuorum>,
    pub(crate) left: Option<NodeLeft>,
}

/// The writers of the files.
#[derive(Debug)]
pub(crate) struct Writers {
    pub(crate) backend_state_file: BackendStateFile,
    pub(crate) totals_writer: TotalsWriter,
    pub(crate) record_writer: RecordWriter,
}

/// Writes the record of sysctls, the state of backends, and totals.
#[derive(Debug)]
pub struct Saver {
    due: Arc<Mutex<Due>>,
    writers: Writers,
    woken: mpsc::UnboundedReceiver<()>,
    /// Receives the result of each write, and the number of orders that it completed.
    results: mpsc::UnboundedSender<(u64, Saved)>,
}

/// Starts the thread. Without a thread no state is saved.
pub fn start_thread(saver: Saver) {
    if let Err(error) = threads::start("save state", move || saver.serve()) {
        error!("start a thread: {error} (a restart loses overrides and health of backends)");
    }
}

impl SaveQueue {
    /// Both ends. `wake` wakes the thread of the saver, also for the writers of totals and of the record.
    pub(crate) fn new(
        writers: Writers,
        (wake, woken): (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
        results: mpsc::UnboundedSender<(u64, Saved)>,
    ) -> (Self, Saver) {
        let due = Arc::<Mutex<Due>>::default();
        let saver = Saver { due: due.clone(), writers, woken, results };
        (SaveQueue { due, wake, waiting: 0, since: Instant::now() }, saver)
    }

    /// Orders a save, unless a newer order replaces it. The answer is the result of the order that was executed.
    pub(crate) fn order(&mut self, state: SaveOrder, retries: bool) -> oneshot::Receiver<Saved> {
        let (done, answer) = oneshot::channel();
        if self.waiting == 0 {
            self.since = Instant::now();
        }
        self.waiting += 1;
        let mut due = locked(&self.due);
        due.newest = Some(state);
        due.retries |= retries;
        due.waiting.push(done);
        // Without a thread, the order stays pending and is reported like a disk that does not answer.
        let _ = self.wake.send(());
        answer
    }

    /// Whether a result is pending.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Records that this many orders have a result.
    pub(crate) fn have_results(&mut self, orders: u64) {
        self.waiting -= orders;
        self.since = Instant::now();
    }

    /// The problem if a write has been pending for too long.
    pub(crate) fn overdue(&self) -> Option<String> {
        let waited = self.since.elapsed();
        let is_overdue = self.is_waiting() && waited >= PATIENCE;
        is_overdue.then(|| format!("a write to the state directory is pending for {} s", waited.as_secs()))
    }
}

impl Saver {
    /// Writes what is ordered until all senders are dropped.
    pub fn serve(mut self) {
        while self.woken.blocking_recv().is_some() {
            self.save();
        }
    }

    /// Writes what is ordered, on the caller's runtime: for tests whose clock would be paused while a thread works.
    pub async fn serve_here(mut self) {
        while self.woken.recv().await.is_some() {
            self.save();
        }
    }

    /// Whether a write is due.
    pub fn is_due(&self) -> bool {
        let Writers { totals_writer, record_writer, .. } = &self.writers;
        locked(&self.due).newest.is_some() || totals_writer.is_due() || record_writer.is_due()
    }

    /// Executes the writes that are due.
    pub fn save(&mut self) {
        let Writers { backend_state_file, totals_writer, record_writer } = &mut self.writers;
        // The first, because a change of a sysctl waits for it.
        record_writer.write_due();
        let Due { newest, retries, waiting } = std::mem::take(&mut *locked(&self.due));
        if let Some(SaveOrder { services, overrides, health, quorums, left }) = newest {
            if retries {
                backend_state_file.retry_now();
            }
            let saved = backend_state_file.save(&services, overrides, health, quorums, left);
            let _ = self.results.send((waiting.len() as u64, saved.clone()));
            waiting.into_iter().for_each(|done| drop(done.send(saved.clone())));
        }
        totals_writer.write_due();
    }
}

fn locked(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::store::TotalsStore;
    use crate::state::tests::Scratch;

    #[test]
    fn orders_that_wait_are_one_save_of_the_newest() {
        let state = Scratch::default();
        let (backend_state_file, ..) = BackendStateFile::open(state.files(), "one");
        let (wake, woken) = mpsc::unbounded_channel();
        let (_, totals_writer, _) = TotalsStore::open(state.files(), &Services::new(), wake.clone());
        let (sender, mut results) = mpsc::unbounded_channel();
        let writers = Writers { backend_state_file, totals_writer, record_writer: state.record_writer() };
        let (mut save_queue, mut saver) = SaveQueue::new(writers, (wake, woken), sender);
        let services = Arc::new(Services::new());
        let known = |healthy| {
            let [service, backend] = ["web", "b"].map(str::to_owned);
            vec![SavedHealth { service, backend, target: "10.0.2.11:80".parse().unwrap(), healthy }]
        };
        let mut answers: Vec<_> = [false, true, false, true]
            .map(|healthy| {
                let (services, health) = (services.clone(), known(healthy));
                let state = SaveOrder { services, overrides: vec![], health, quorums: vec![], left: None };
                save_queue.order(state, false)
            })
            .into();
        assert!(saver.is_due());
        saver.save();
        assert!(!saver.is_due());
        assert_eq!(results.try_recv().unwrap(), (4, Ok(())));
        assert!(results.try_recv().is_err(), "one write");
        save_queue.have_results(4);
        assert!(!save_queue.is_waiting());
        answers.iter_mut().for_each(|answer| assert_eq!(answer.try_recv().unwrap(), Ok(())));
        assert_eq!(BackendStateFile::open(state.files(), "one").1.health, known(true));
    }
}
