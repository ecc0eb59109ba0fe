//! [`Files`]: reads the files of patterns, and wakes tasks when they change.

mod read;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use crate::reply::{LookupError, Reply};
use read::Contents;
use watcher::Watcher;

/// Maximum number of patterns that are read at a time, each on a blocking thread.
const AT_A_TIME: usize = 4;

/// The patterns that are watched; clones share them.
#[derive(Clone)]
pub(crate) struct Files(Arc<Inner>);

struct Inner {
    patterns: Mutex<BTreeMap<PathBuf, Arc<Pattern>>>,
    watcher: Watcher,
    permits: Semaphore,
}

/// A pattern, and what its files contained.
struct Pattern {
    changed: Arc<Notify>,
    contents: Mutex<Contents>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let (patterns, watcher, permits) = (Mutex::default(), Watcher::default(), Semaphore::new(AT_A_TIME));
        Files(Arc::new(Inner { patterns, watcher, permits }))
    }

    /// Watches these patterns and no others.
    pub(crate) fn watch(&self, patterns: &BTreeSet<&Path>) {
        let mut known = self.patterns();
        known.retain(|pattern, _| patterns.contains(pattern.as_path()));
        for pattern in patterns {
            let new = || Arc::new(Pattern { changed: Arc::default(), contents: Mutex::default() });
            known.entry(pattern.to_path_buf()).or_insert_with(new);
        }
        drop(known);
        self.0.watcher.retain(patterns);
    }

    /// Is notified when a file of the pattern may have changed.
    pub(crate) fn changed(&self, pattern: &Path) -> Option<Arc<Notify>> {
        Some(self.patterns().get(pattern)?.changed.clone())
    }

    /// Reads the files of a pattern.
    pub(crate) async fn ask(&self, pattern: PathBuf) -> Result<Reply, LookupError> {
        let Some(known) = self.patterns().get(&pattern).cloned() else {
            return Err(LookupError("the pattern is not watched".to_owned()));
        };
        let _permit = self.0.permits.acquire().await;
        let files = self.clone();
        let read = move || {
            // First, so that a change during the read is noticed.
            files.0.watcher.follow(&pattern, &known.changed);
            known.contents.lock().unwrap_or_else(PoisonError::into_inner).read(&pattern)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(error) => Err(LookupError(format!("cannot read the files: {error}"))),
        }
    }

    fn patterns(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Pattern>>> {
        self.0.patterns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
