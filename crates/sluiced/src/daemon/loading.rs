//! Reads the configuration on a thread of its own: a slow disk, a large file or a FIFO delays a reload and nothing else.

use std::path::Path;

use sluice_api::ReloadStatus;
use sluice_config::{Loaded, Problem};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

/// Who waits for the answer to a reload.
pub(crate) type Asked = Vec<oneshot::Sender<ReloadStatus>>;

/// What reading the configuration comes to: the configuration, or all that is wrong with it.
pub(crate) type Loads = Result<Loaded, Vec<Problem>>;

/// At most one load runs. Those who ask meanwhile get one after it together, because the file may have changed since that
/// one began.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    running: Option<(JoinHandle<Loads>, Asked)>,
    /// `None`: nobody asked since it began.
    again: Option<Asked>,
}

impl Loading {
    /// Has the file read, now or after the load that runs.
    pub(crate) fn ask(&mut self, file: &Path, answer: Option<oneshot::Sender<ReloadStatus>>) {
        match self.running {
            Some(_) => self.again.get_or_insert_default().extend(answer),
            None => self.begin(file, answer.into_iter().collect()),
        }
    }

    /// Begins the load that was asked for while the one before ran; `false`: there is none such.
    pub(crate) fn begin_again(&mut self, file: &Path) -> bool {
        let again = self.again.take();
        let is_asked = again.is_some();
        again.into_iter().for_each(|asked| self.begin(file, asked));
        is_asked
    }

    /// The next configuration that was read, and who asked for it. May be called again after it was given up.
    pub(crate) async fn next(&mut self) -> (Loads, Asked) {
        let Some((load, _)) = &mut self.running else { return std::future::pending().await };
        let loaded = load.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        (loaded, self.running.take().map(|(_, asked)| asked).unwrap_or_default())
    }

    fn begin(&mut self, file: &Path, asked: Asked) {
        let file = file.to_owned();
        self.running = Some((spawn_blocking(move || sluice_config::load(&file)), asked));
    }
}
