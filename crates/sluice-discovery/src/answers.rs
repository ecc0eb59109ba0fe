//! [`Answers`]: the last good answer of every lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sluice_core::model::{Answer, Lookup};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::progress::{Finished, Progress};
use crate::saved::SavedAnswers;
use crate::state::LookupState;

/// The answers of all lookups; clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    board: Mutex<Board>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Board {
    /// Shared with readers: copied if it changes while one holds it.
    states: Arc<BTreeMap<Lookup, LookupState>>,
    running: BTreeMap<Lookup, (TaskId, Progress)>,
    /// Lookups whose answer or error state changed since changes were last taken.
    changed: BTreeSet<Lookup>,
    /// Answers of an earlier run, for lookups that are not watched yet.
    restored: BTreeMap<Lookup, (Arc<Answer>, Timestamp)>,
}

/// Identifies a task, so that a late result of an ended one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(pub(crate) u64);

impl Answers {
    /// Waits until there are changes to take. Cancel safe.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Lookups whose answer changed, or which have an error now and had none, or the reverse, since the last call: with
    /// their newest state. An answer that is only younger is no change.
    pub fn take_changes(&self) -> BTreeMap<Lookup, LookupState> {
        let mut board = self.board();
        let changed = std::mem::take(&mut board.changed);
        let state = |lookup: Lookup| board.states.get(&lookup).cloned().map(|state| (lookup, state));
        changed.into_iter().filter_map(state).collect()
    }

    /// All watched lookups.
    pub fn states(&self) -> Arc<BTreeMap<Lookup, LookupState>> {
        self.board().states.clone()
    }

    /// The answers, to save them for the next run.
    pub fn saved(&self) -> SavedAnswers {
        SavedAnswers::of(&self.states())
    }

    pub(crate) fn restore(&self, restored: BTreeMap<Lookup, (Arc<Answer>, Timestamp)>) {
        self.board().restored = restored;
    }

    /// Keeps what is known of these lookups, and drops others. Each has its task.
    pub(crate) fn watch(&self, tasks: BTreeMap<Lookup, TaskId>) {
        let mut board = self.board();
        let Board { states, running, changed, restored } = &mut *board;
        let mut restored = std::mem::take(restored);
        let (old_states, mut old_running) = (states.clone(), std::mem::take(running));
        let mut new_states = BTreeMap::new();
        changed.retain(|lookup| tasks.contains_key(lookup));
        for (lookup, task) in tasks {
            let progress = old_running.remove(&lookup).map(|(_, progress)| progress).unwrap_or_default();
            let state = old_states.get(&lookup).cloned().unwrap_or_else(|| {
                let Some((answer, answered)) = restored.remove(&lookup) else {
                    return LookupState::default();
                };
                changed.insert(lookup.clone());
                let (answer, answered) = (Some(answer), Some(answered));
                LookupState { answer, answered, is_restored: true, ..LookupState::default() }
            });
            running.insert(lookup.clone(), (task, progress));
            new_states.insert(lookup, state);
        }
        *states = Arc::new(new_states);
        if !changed.is_empty() {
            self.0.changed.notify_one();
        }
    }

    /// Records a result. Returns the time until the next lookup; `None`: only when a file changes.
    pub(crate) fn observe(&self, task: TaskId, finished: Finished<'_>) -> Option<Duration> {
        let lookup = finished.lookup;
        let mut board = self.board();
        let Board { states, running, changed, .. } = &mut *board;
        let (_, progress) = running.get_mut(lookup).filter(|(id, _)| *id == task)?;
        let state = Arc::make_mut(states).get_mut(lookup)?;
        let step = progress.observe(state, finished);
        match &state.error {
            Some(error) if step.is_new_state => warn!("{lookup}: {}", error.message),
            Some(error) => debug!("{lookup}: {}", error.message),
            None if step.is_new_state && !step.is_new_answer => info!("{lookup}: answered again"),
            None => {}
        }
        if step.is_new_answer {
            let number = state.answer.as_ref().map_or(0, |answer| answer.found.len());
            info!("{lookup}: {number} backends");
        }
        if step.is_new_answer || step.is_new_state {
            changed.insert(lookup.clone());
            self.0.changed.notify_one();
        }
        step.wait
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
