//! [`Saver`]: writes what outlives the daemon, on a thread of its own.
//!
//! The reconcile task orders a save after the kernel has what is to be remembered, and goes on: no disk keeps a flip waiting.
//! Orders wait in one place each, where a newer one takes the place of an older one. So a slow disk is asked for one write at a
//! time however much changes meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_core::model::Services;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::error;

use crate::counters::store::Book;
use crate::host::threads;
use crate::state::backends::{Known, Memory, Said};

/// How long a disk may take for a write before it is told of.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the state of backends was saved, or why not.
pub(crate) type Saved = Result<(), String>;

/// How a [`Saver`] is put to work: on a thread, or by whoever stands in for one in a test.
pub type Saving = Box<dyn FnOnce(Saver)>;

/// Has the state of backends saved, for the reconcile task.
#[derive(Debug)]
pub(crate) struct Saves {
    due: Arc<Mutex<Due>>,
    wake: mpsc::UnboundedSender<()>,
    /// Orders without a result, and since when there have been any.
    waiting: u64,
    since: Instant,
}

/// What is to be saved.
#[derive(Debug, Default)]
struct Due {
    newest: Option<State>,
    /// Whether to try again what failed a short time ago, too: somebody waits for the answer.
    retries: bool,
    waiting: Vec<oneshot::Sender<Saved>>,
}

/// The state of the backends of these services.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) services: Arc<Services>,
    pub(crate) overrides: Vec<Said>,
    pub(crate) health: Vec<Known>,
}

/// Writes the state of backends and totals.
#[derive(Debug)]
pub struct Saver {
    due: Arc<Mutex<Due>>,
    memory: Memory,
    book: Book,
    woken: mpsc::UnboundedReceiver<()>,
    /// Told the result of each write, and how many orders that carried out.
    results: mpsc::UnboundedSender<(u64, Saved)>,
}

/// Starts the thread. Without one, nothing is remembered.
pub fn on_a_thread(saver: Saver) {
    if let Err(error) = threads::start("save state", move || saver.serve()) {
        error!(
            "start a thread: {error} (a restart will not know what is said of backends, nor their health)"
        );
    }
}

impl Saves {
    /// Both ends. Whoever has the saver is woken through `wake`, also for the book.
    pub(crate) fn new(
        memory: Memory,
        book: Book,
        (wake, woken): (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
        results: mpsc::UnboundedSender<(u64, Saved)>,
    ) -> (Self, Saver) {
        let due = Arc::<Mutex<Due>>::default();
        let saver = Saver { due: due.clone(), memory, book, woken, results };
        (Saves { due, wake, waiting: 0, since: Instant::now() }, saver)
    }

    /// Has this saved, unless something newer comes first. The answer is that of what was saved in the end.
    pub(crate) fn order(&mut self, state: State, retries: bool) -> oneshot::Receiver<Saved> {
        let (done, answer) = oneshot::channel();
        if self.waiting == 0 {
            self.since = Instant::now();
        }
        self.waiting += 1;
        let mut due = locked(&self.due);
        due.newest = Some(state);
        due.retries |= retries;
        due.waiting.push(done);
        // Nobody listens where there is no thread, which is told of like a disk that does not answer.
        let _ = self.wake.send(());
        answer
    }

    /// Whether a result is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// So many orders have a result.
    pub(crate) fn have_results(&mut self, orders: u64) {
        self.waiting -= orders;
        self.since = Instant::now();
    }

    /// What is wrong if the disk has not answered for long.
    pub(crate) fn overdue(&self) -> Option<String> {
        let waited = self.since.elapsed();
        let is_overdue = self.is_waiting() && waited >= PATIENCE;
        is_overdue.then(|| format!("the state directory has taken nothing for {} s", waited.as_secs()))
    }
}

impl Saver {
    /// Writes what is due until nobody can order anything.
    pub fn serve(mut self) {
        while self.woken.blocking_recv().is_some() {
            self.save();
        }
    }

    /// The same on the runtime of the caller, for a test whose clock stands still while a thread is at work.
    pub async fn serve_here(mut self) {
        while self.woken.recv().await.is_some() {
            self.save();
        }
    }

    /// Whether there is something to write.
    pub fn is_due(&self) -> bool {
        locked(&self.due).newest.is_some() || self.book.is_due()
    }

    /// Writes what is due.
    pub fn save(&mut self) {
        let Due { newest, retries, waiting } = std::mem::take(&mut *locked(&self.due));
        if let Some(State { services, overrides, health }) = newest {
            if retries {
                self.memory.retry_now();
            }
            let saved = self.memory.save(&services, overrides, health);
            let _ = self.results.send((waiting.len() as u64, saved.clone()));
            waiting.into_iter().for_each(|done| drop(done.send(saved.clone())));
        }
        self.book.write_due();
    }
}

fn locked(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::store::Bases;
    use crate::state::tests::Scratch;

    #[test]
    fn orders_that_wait_are_one_save_of_the_newest() {
        let state = Scratch::default();
        let (memory, ..) = Memory::open(state.files(), "one");
        let (wake, woken) = mpsc::unbounded_channel();
        let (_, book, _) = Bases::open(state.files(), &Services::new(), wake.clone());
        let (sender, mut results) = mpsc::unbounded_channel();
        let (mut saves, mut saver) = Saves::new(memory, book, (wake, woken), sender);
        let services = Arc::new(Services::new());
        let known = |healthy| {
            let [service, backend] = ["web", "b"].map(str::to_owned);
            vec![Known { service, backend, target: "10.0.2.11:80".parse().unwrap(), healthy }]
        };
        let mut answers: Vec<_> = [false, true, false, true]
            .map(|healthy| {
                let state = State { services: services.clone(), overrides: vec![], health: known(healthy) };
                saves.order(state, false)
            })
            .into();
        assert!(saver.is_due());
        saver.save();
        assert!(!saver.is_due());
        assert_eq!(results.try_recv().unwrap(), (4, Ok(())));
        assert!(results.try_recv().is_err(), "one write");
        saves.have_results(4);
        assert!(!saves.is_waiting());
        answers.iter_mut().for_each(|answer| assert_eq!(answer.try_recv().unwrap(), Ok(())));
        assert_eq!(Memory::open(state.files(), "one").1.health, known(true));
    }
}
