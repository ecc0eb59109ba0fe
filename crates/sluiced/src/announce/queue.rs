//! [`AnnounceQueue`]: orders of the reconcile task to the announcer, and its reports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::announcer::Announcer;
use super::changes::{Order, Presence};

/// Orders changes of addresses. A newer order replaces a waiting one.
#[derive(Debug)]
pub(crate) struct AnnounceQueue {
    due: Arc<Mutex<Due>>,
    wake: mpsc::UnboundedSender<()>,
}

/// The waiting order.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) newest: Option<Arc<Order>>,
    pub(super) waiting: Vec<oneshot::Sender<Arc<Report>>>,
}

/// The result of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Addresses of announced services that the interface has now.
    pub(crate) present: BTreeMap<IpAddr, Presence>,
    pub(crate) added: Vec<IpAddr>,
    pub(crate) withdrawn: Vec<IpAddr>,
    /// Addresses that could not be added or withdrawn, with the error.
    pub(crate) failed: BTreeMap<IpAddr, String>,
    /// Why the addresses of the host could not be read.
    pub(crate) unread: Option<String>,
}

impl Report {
    /// The first error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.unread.as_deref().or_else(|| self.failed.values().next().map(String::as_str))
    }
}

impl AnnounceQueue {
    /// Both ends. `reports` receives a report after each order.
    pub(crate) fn new(reports: mpsc::UnboundedSender<Arc<Report>>) -> (Self, Announcer) {
        let (wake, woken) = mpsc::unbounded_channel();
        let due = Arc::<Mutex<Due>>::default();
        (AnnounceQueue { due: due.clone(), wake }, Announcer { due, woken, reports })
    }

    /// Orders these addresses. The receiver gets the report of this order, or of a newer one that replaced it.
    pub(crate) fn order(&self, order: Arc<Order>) -> oneshot::Receiver<Arc<Report>> {
        let (done, answer) = oneshot::channel();
        let mut due = locked(&self.due);
        due.newest = Some(order);
        due.waiting.push(done);
        // Without a thread the order stays pending.
        let _ = self.wake.send(());
        answer
    }
}

pub(super) fn locked(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}
