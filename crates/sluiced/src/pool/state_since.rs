//! Since when backends are as they are.

use std::collections::BTreeMap;

use sluice_api::Timestamp;
use sluice_core::model::{Backend, BackendKey, BackendName, ServiceName};
use sluice_core::transition::Transition;

/// Since when backends are in their state. Most are since the start, and those take no room.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    start: Timestamp,
    later: BTreeMap<BackendKey, Timestamp>,
}

impl Since {
    pub(crate) fn new(start: Timestamp) -> Self {
        Since { start, later: BTreeMap::new() }
    }

    /// Notes what changes.
    pub(crate) fn change(&mut self, transition: &Transition<'_>, now: Timestamp) {
        for (name, before, after) in transition.differences() {
            let key = |backend: &Backend| BackendKey { service: name.clone(), backend: backend.name.clone() };
            let [old, new] =
                [before, after].map(|service| service.map_or(&[][..], |service| &service.backends));
            let stays = |backend: &Backend| {
                before.is_some_and(|old| {
                    after.is_some_and(|new| old.enabled == new.enabled)
                        && old.backends.iter().any(|other| other.name == backend.name)
                })
            };
            for gone in old {
                if !new.iter().any(|backend| backend.name == gone.name) {
                    self.later.remove(&key(gone));
                }
            }
            for backend in new.iter().filter(|backend| !stays(backend)) {
                self.later.insert(key(backend), now);
            }
        }
    }

    /// Notes that a backend changed.
    pub(crate) fn mark(&mut self, key: BackendKey, now: Timestamp) {
        self.later.insert(key, now);
    }

    pub(crate) fn of(&self, service: &ServiceName, backend: &BackendName) -> Timestamp {
        let key = BackendKey { service: service.clone(), backend: backend.clone() };
        self.later.get(&key).copied().unwrap_or(self.start)
    }
}
