//! [`RecordQueue`]: orders saves of the record of changed sysctls, which the saver thread executes with a [`RecordWriter`].
//!
//! A newer record replaces a waiting one. docs/adr/0023 says how long a change of a sysctl waits for its record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::{FileError, Files, SysctlRecord};
use crate::fatal::chain;

/// Orders saves, for the reconcile task.
#[derive(Debug)]
pub(super) struct RecordQueue {
    pending: Arc<Mutex<Pending>>,
    wake: mpsc::UnboundedSender<()>,
}

/// Executes the orders of a [`RecordQueue`].
#[derive(Debug)]
pub(crate) struct RecordWriter {
    pending: Arc<Mutex<Pending>>,
    files: Files,
}

/// The state of the newest record.
#[derive(Debug, Default)]
struct Pending {
    /// The record that waits; `None`: a write of the newest one began.
    newest: Option<SysctlRecord>,
    /// Dropped when the record that was ordered with it, or a newer one, is written or cannot be.
    waiting: Vec<watch::Sender<()>>,
    /// Whether the file has the newest record.
    is_saved: bool,
}

impl RecordQueue {
    /// Both ends. `wake` wakes the thread of the writer.
    pub(super) fn new(files: Files, wake: mpsc::UnboundedSender<()>) -> (Self, RecordWriter) {
        let pending = Arc::new(Mutex::new(Pending { is_saved: true, ..Pending::default() }));
        (RecordQueue { pending: pending.clone(), wake }, RecordWriter { pending, files })
    }

    /// Orders a save. The receiver is closed after the attempt to write it.
    pub(super) fn order(&self, record: SysctlRecord) -> watch::Receiver<()> {
        let (done, attempted) = watch::channel(());
        let mut pending = locked(&self.pending);
        pending.newest = Some(record);
        pending.waiting.push(done);
        pending.is_saved = false;
        let _ = self.wake.send(());
        attempted
    }

    /// Whether the file has the newest record.
    pub(super) fn is_saved(&self) -> bool {
        locked(&self.pending).is_saved
    }
}

impl RecordWriter {
    /// Whether a write is due.
    pub(crate) fn is_due(&self) -> bool {
        locked(&self.pending).newest.is_some()
    }

    /// Executes the write that is due. A failure is logged.
    pub(crate) fn write_due(&mut self) {
        let (newest, waiting) = {
            let mut pending = locked(&self.pending);
            (pending.newest.take(), std::mem::take(&mut pending.waiting))
        };
        let Some(record) = newest else { return };
        let saved = save(&record, &self.files).is_ok();
        let mut pending = locked(&self.pending);
        // A newer order may have come meanwhile.
        pending.is_saved = saved && pending.newest.is_none();
        drop(waiting);
    }
}

/// Saves a record. A failure is logged and does not prevent the change.
pub(super) fn save(record: &SysctlRecord, files: &Files) -> Result<(), FileError> {
    record.save(files).inspect_err(|error| {
        warn!("{} (after a restart old sysctl values cannot be restored)", chain(error));
    })
}

fn locked(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::tests::{Scratch, state};

    #[test]
    fn records_that_wait_are_one_write_of_the_newest() {
        let scratch = Scratch::default();
        let (wake, mut woken) = mpsc::unbounded_channel();
        let (queue, mut writer) = RecordQueue::new(scratch.files(), wake);
        let attempts = [3, 1, 2].map(|sysctls| queue.order(state(sysctls)));
        assert!(woken.try_recv().is_ok() && writer.is_due() && !queue.is_saved());
        writer.write_due();
        assert!(!writer.is_due() && queue.is_saved());
        attempts.iter().for_each(|attempted| assert!(attempted.has_changed().is_err()));
        assert_eq!(SysctlRecord::load(&scratch.files(), "b").state, state(2));
    }

    #[test]
    fn record_that_cannot_be_written_stays_unsaved_and_keeps_nobody_waiting() {
        let scratch = Scratch::default();
        let in_the_way = scratch.path().join("state.json.new");
        fs::create_dir(&in_the_way).unwrap();
        let (queue, mut writer) = RecordQueue::new(scratch.files(), mpsc::unbounded_channel().0);
        let attempted = queue.order(state(1));
        writer.write_due();
        assert!(attempted.has_changed().is_err());
        assert!(!queue.is_saved());
        fs::remove_dir(&in_the_way).unwrap();
        drop(queue.order(state(1)));
        writer.write_due();
        assert!(queue.is_saved());
    }
}
