//! [`Watcher`]: inotify watches of directories. Its thread, that of `notify`, wakes tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::{debug, warn};

/// Watches the directories of patterns.
#[derive(Default)]
pub(super) struct Watcher {
    routes: Arc<Mutex<Routes>>,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    inotify: Option<RecommendedWatcher>,
    has_failed: bool,
    directories: BTreeSet<PathBuf>,
}

/// The directories of each pattern, and the task to wake.
type Routes = BTreeMap<PathBuf, (Vec<Route>, Arc<Notify>)>;

/// A directory, and the name in it that counts; `None`: every one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    directory: PathBuf,
    name: Option<OsString>,
}

impl Watcher {
    /// Watches the directory of a pattern, again if it is another one by now, and wakes its task from now on. While there
    /// is no inotify, files are read at each refresh only.
    pub(super) fn follow(&self, pattern: &Path, task: &Arc<Notify>) {
        let mut watched = lock(&self.watched);
        if watched.inotify.is_none() {
            let routes = self.routes.clone();
            match notify::recommended_watcher(move |event| wake(&lock(&routes), event)) {
                Ok(inotify) => (watched.inotify, watched.has_failed) = (Some(inotify), false),
                Err(error) if !watched.has_failed => {
                    watched.has_failed = true;
                    warn!("cannot watch files, which are read now and then instead: {error}");
                }
                Err(_) => {}
            }
        }
        let routes = routes(pattern);
        let directories: Vec<_> = routes.iter().map(|route| route.directory.clone()).collect();
        lock(&self.routes).insert(pattern.to_owned(), (routes, task.clone()));
        let Watched { inotify: Some(inotify), directories: known, .. } = &mut *watched else { return };
        for directory in directories {
            // Also if it is known: it may have been replaced.
            match inotify.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(known.insert(directory)),
                Err(error) => debug!("cannot watch {}: {error}", directory.display()),
            }
        }
        self.prune(&mut watched);
    }

    /// Ends the watches of other patterns.
    pub(super) fn retain(&self, patterns: &BTreeSet<&Path>) {
        let mut watched = lock(&self.watched);
        lock(&self.routes).retain(|pattern, _| patterns.contains(pattern.as_path()));
        self.prune(&mut watched);
    }

    fn prune(&self, watched: &mut Watched) {
        let routes = lock(&self.routes);
        let needed: BTreeSet<_> =
            routes.values().flat_map(|(routes, _)| routes).map(|route| route.directory.clone()).collect();
        // The thread of notify needs the lock to answer.
        drop(routes);
        let Watched { inotify: Some(inotify), directories, .. } = watched else { return };
        directories.retain(|directory| {
            if !needed.contains(directory) {
                // The directory may be gone, and its watch with it.
                let _ = inotify.unwatch(directory);
            }
            needed.contains(directory)
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory of a pattern, and its name in the one above, because it may be replaced. While it does not exist: the
/// next name on the way to it, in the deepest directory that exists.
fn routes(pattern: &Path) -> Vec<Route> {
    let pattern = std::path::absolute(pattern).unwrap_or_else(|_| pattern.to_owned());
    let mut routes = Vec::new();
    let mut below = None;
    for directory in pattern.ancestors().skip(1) {
        let name: Option<OsString> = below.replace(directory).and_then(Path::file_name).map(Into::into);
        if directory.is_dir() {
            let is_exact = name.is_none();
            routes.push(Route { directory: directory.to_owned(), name });
            if !is_exact {
                break;
            }
        }
    }
    routes
}

/// Wakes the tasks that an event concerns.
fn wake(routes: &Routes, event: notify::Result<Event>) {
    let concerns = |route: &Route, path: &Path| match path.parent() {
        _ if path == route.directory => true,
        Some(parent) if parent == route.directory => {
            route.name.as_deref().is_none_or(|name| path.file_name() == Some(name))
        }
        _ => false,
    };
    let paths = match &event {
        // Readers, such as this process, change nothing.
        Ok(Event { kind: EventKind::Access(kind), .. }) if *kind != AccessKind::Close(AccessMode::Write) => {
            return;
        }
        Ok(event) if !event.need_rescan() => Some(&event.paths),
        _ => None,
    };
    for (routes, task) in routes.values() {
        let is_concerned = paths
            .is_none_or(|paths| paths.iter().any(|path| routes.iter().any(|route| concerns(route, path))));
        if is_concerned {
            task.notify_one();
        }
    }
}
