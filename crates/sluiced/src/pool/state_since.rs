//! [`StateChangeTimes`]: the time at which the state of each backend last changed, for the status.

use std::collections::BTreeMap;

use sluice_api::Timestamp;
use sluice_core::model::Transition;
use sluice_core::model::{Backend, BackendKey, BackendName, ServiceName};

/// Times of the last state changes. Backends without a change since the start have no entry.
#[derive(Clone, Debug)]
pub(crate) struct StateChangeTimes {
    start: Timestamp,
    changed: BTreeMap<BackendKey, Timestamp>,
}

impl StateChangeTimes {
    pub(crate) fn new(start: Timestamp) -> Self {
        StateChangeTimes { start, changed: BTreeMap::new() }
    }

    /// Records the changes of a transition: added backends, and backends of services that were enabled or disabled.
    pub(crate) fn apply(&mut self, transition: &Transition<'_>, now: Timestamp) {
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
                    self.changed.remove(&key(gone));
                }
            }
            for backend in new.iter().filter(|backend| !stays(backend)) {
                self.changed.insert(key(backend), now);
            }
        }
    }

    /// Records a change of a backend.
    pub(crate) fn record(&mut self, key: BackendKey, now: Timestamp) {
        self.changed.insert(key, now);
    }

    pub(crate) fn of(&self, service: &ServiceName, backend: &BackendName) -> Timestamp {
        let key = BackendKey { service: service.clone(), backend: backend.clone() };
        self.changed.get(&key).copied().unwrap_or(self.start)
    }
}
