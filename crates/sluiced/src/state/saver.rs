//! [`Saver`]: writes what is remembered of backends, on a thread of its own.
//!
//! The reconcile task orders a save after the kernel has what is to be remembered, and goes on: no disk keeps a flip waiting.
//! The newest order wins, so a slow disk is asked for one write at a time however many backends flip meanwhile.

use std::sync::Arc;
use std::time::Duration;

use sluice_core::model::Services;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::error;

use super::backends::{Known, Memory, Said};
use crate::host::threads;

/// How long a disk may take for a write before it is told of.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Whether something was saved, or why not.
pub(crate) type Saved = Result<(), String>;

/// How a [`Saver`] is put to work: on a thread, or by whoever stands in for one in a test.
pub type Saving = Box<dyn FnOnce(Saver)>;

/// The state of the backends of these services.
#[derive(Debug)]
struct Order {
    services: Arc<Services>,
    overrides: Vec<Said>,
    health: Vec<Known>,
    /// Whether to try again what failed a short time ago, too: somebody waits for the answer.
    retries: bool,
    done: oneshot::Sender<Saved>,
}

/// Carries out orders.
#[derive(Debug)]
pub struct Saver {
    memory: Memory,
    orders: mpsc::UnboundedReceiver<Order>,
    results: mpsc::UnboundedSender<(u64, Saved)>,
}

/// Gives orders, for the reconcile task.
#[derive(Debug)]
pub(crate) struct Saves {
    orders: mpsc::UnboundedSender<Order>,
    /// Orders without a result, and since when there have been any.
    waiting: u64,
    since: Instant,
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
    /// Puts a saver to work. It tells the result of each write, and how many orders that carried out.
    pub(crate) fn to(memory: Memory, saving: Saving, results: mpsc::UnboundedSender<(u64, Saved)>) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        saving(Saver { memory, orders: receiver, results });
        Saves { orders, waiting: 0, since: Instant::now() }
    }

    /// Has this saved, unless something newer comes first. The answer is that of what was saved in the end.
    pub(crate) fn order(
        &mut self,
        services: &Arc<Services>,
        overrides: Vec<Said>,
        health: Vec<Known>,
        retries: bool,
    ) -> oneshot::Receiver<Saved> {
        let (done, answer) = oneshot::channel();
        let order = Order { services: services.clone(), overrides, health, retries, done };
        if self.waiting == 0 {
            self.since = Instant::now();
        }
        // Nobody listens where there is no thread: the answer says so.
        self.waiting += u64::from(self.orders.send(order).is_ok());
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
        let is_overdue = self.is_waiting() && self.since.elapsed() >= PATIENCE;
        is_overdue.then(|| {
            format!("the state directory has taken nothing for {} s", self.since.elapsed().as_secs())
        })
    }
}

impl Saver {
    /// Carries out orders until nobody can give any.
    pub fn serve(mut self) {
        while let Some(order) = self.orders.blocking_recv() {
            self.save(order);
        }
    }

    /// The same on the runtime of the caller, for a test whose clock stands still while a thread is at work.
    pub async fn serve_here(mut self) {
        while let Some(order) = self.orders.recv().await {
            self.save(order);
        }
    }

    /// Whether there are orders.
    pub fn is_due(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Carries out what is ordered now.
    pub fn serve_once(&mut self) {
        if let Ok(order) = self.orders.try_recv() {
            self.save(order);
        }
    }

    fn save(&mut self, first: Order) {
        let (mut newest, mut waiting) = (first, vec![]);
        while let Ok(newer) = self.orders.try_recv() {
            let Order { retries, done, .. } = std::mem::replace(&mut newest, newer);
            newest.retries |= retries;
            waiting.push(done);
        }
        let Order { services, overrides, health, retries, done } = newest;
        waiting.push(done);
        if retries {
            self.memory.retry_now();
        }
        let saved = self.memory.save(&services, overrides, health);
        let _ = self.results.send((waiting.len() as u64, saved.clone()));
        waiting.into_iter().for_each(|done| drop(done.send(saved.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::Scratch;

    #[test]
    fn orders_that_wait_are_one_save_of_the_newest() {
        let state = Scratch::default();
        let (memory, ..) = Memory::open(state.files(), "one");
        let (orders, receiver) = mpsc::unbounded_channel();
        let (sender, mut results) = mpsc::unbounded_channel();
        let mut saver = Saver { memory, orders: receiver, results: sender };
        let services = Arc::new(Services::new());
        let known = |healthy| {
            let [service, backend] = ["web", "b"].map(str::to_owned);
            vec![Known { service, backend, target: "10.0.2.11:80".parse().unwrap(), healthy }]
        };
        let mut answers: Vec<_> = [false, true, false, true]
            .map(|healthy| {
                let (done, answer) = oneshot::channel();
                let (services, health) = (services.clone(), known(healthy));
                orders.send(Order { services, overrides: vec![], health, retries: false, done }).unwrap();
                answer
            })
            .into();
        assert!(saver.is_due());
        saver.serve_once();
        assert!(!saver.is_due());
        assert_eq!(results.try_recv().unwrap(), (4, Ok(())));
        assert!(results.try_recv().is_err(), "one write");
        answers.iter_mut().for_each(|answer| assert_eq!(answer.try_recv().unwrap(), Ok(())));
        assert_eq!(Memory::open(state.files(), "one").1.health, known(true));
    }
}
