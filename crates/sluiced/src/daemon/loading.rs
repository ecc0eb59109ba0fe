//! Loads the configuration on a separate thread: a slow disk or a large file delays only the reload.

use std::path::Path;
use std::sync::Arc;

use sluice_api::ReloadStatus;
use sluice_config::{Loaded, Problem};
use sluice_core::model::Services;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::host::threads;

/// Clients that wait for the answer to a reload.
pub(crate) type Clients = Vec<oneshot::Sender<ReloadStatus>>;

/// The result of a load: the configuration, or all its errors.
pub(crate) type LoadResult = Result<Loaded, Vec<Problem>>;

/// At most one load runs. Requests during a load share the next one, because the file may have changed since the current
/// one began.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    running: Option<(JoinHandle<LoadResult>, Clients)>,
    /// `None` without requests since it began.
    again: Option<Clients>,
}

impl Loading {
    /// Loads the file, now or after the current load. Returns whether this is the first request for that load.
    pub(crate) fn ask(
        &mut self,
        file: &Path,
        held: &Arc<Services>,
        answer: Option<oneshot::Sender<ReloadStatus>>,
    ) -> bool {
        if self.running.is_none() {
            self.begin(file, held, answer.into_iter().collect());
            return true;
        }
        let is_first = self.again.is_none();
        self.again.get_or_insert_default().extend(answer);
        is_first
    }

    /// Begins the load that was requested during the previous one; `false` if there is none.
    pub(crate) fn begin_again(&mut self, file: &Path, held: &Arc<Services>) -> bool {
        let again = self.again.take();
        let is_asked = again.is_some();
        again.into_iter().for_each(|asked| self.begin(file, held, asked));
        is_asked
    }

    /// Waits for the next loaded configuration, with its clients. Cancel safe.
    pub(crate) async fn next(&mut self) -> (LoadResult, Clients) {
        let Some((load, _)) = &mut self.running else { return std::future::pending().await };
        let loaded = load.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        (loaded, self.running.take().map(|(_, asked)| asked).unwrap_or_default())
    }

    fn begin(&mut self, file: &Path, held: &Arc<Services>, asked: Clients) {
        let (file, held) = (file.to_owned(), held.clone());
        self.running =
            Some((spawn_blocking(move || threads::run_yielding("load", || load(&file, &held))), asked));
    }
}

/// Loads the file. Services equal to those in force become the same allocation: the comparison, and the release of the other
/// one, do not take time of the reconcile task.
fn load(file: &Path, held: &Arc<Services>) -> LoadResult {
    let mut loaded = sluice_config::load(file)?;
    if loaded.config.services == *held {
        loaded.config.services = held.clone();
    }
    Ok(loaded)
}
