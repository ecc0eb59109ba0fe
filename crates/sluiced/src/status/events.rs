//! [`Events`]: recent events for the status.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_api::{Event, EventKind, Severity, Timestamp};
use sluice_core::model::{BackendKey, ServiceName};

use crate::host::clock::now;

/// Maximum age of events.
const KEPT: Duration = Duration::from_secs(3600);

/// Maximum number of events.
const MOST: usize = 500;

/// Events of the last hour, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(VecDeque<Event>);

impl Events {
    /// Adds an event without a service.
    pub(crate) fn add(&mut self, kind: EventKind, severity: Severity, text: impl Into<String>) {
        self.push(Event { at: now(), kind, severity, service: None, backend: None, text: text.into() });
    }

    /// Adds an event of a backend.
    pub(crate) fn of(
        &mut self,
        key: &BackendKey,
        kind: EventKind,
        severity: Severity,
        text: impl Into<String>,
    ) {
        let (service, backend) = (Some(key.service.to_string()), Some(key.backend.to_string()));
        self.push(Event { at: now(), kind, severity, service, backend, text: text.into() });
    }

    /// Adds an event of a service.
    pub(crate) fn of_service(
        &mut self,
        name: &ServiceName,
        kind: EventKind,
        severity: Severity,
        text: impl Into<String>,
    ) {
        let service = Some(name.to_string());
        self.push(Event { at: now(), kind, severity, service, backend: None, text: text.into() });
    }

    /// The events of the hour before this time.
    pub(crate) fn lately(&self, now: Timestamp) -> Vec<Event> {
        self.0.iter().filter(|event| !is_old(event, now)).cloned().collect()
    }

    fn push(&mut self, event: Event) {
        while self.0.front().is_some_and(|first| self.0.len() >= MOST || is_old(first, event.at)) {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }
}

fn is_old(event: &Event, now: Timestamp) -> bool {
    event.at + KEPT < now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_when_there_are_too_many_are_the_latest() {
        let mut events = Events::default();
        (0..MOST + 3).for_each(|n| events.add(EventKind::Reload, Severity::Info, n.to_string()));
        let lately = events.lately(now());
        assert_eq!((lately.len(), lately[0].text.as_str()), (MOST, "3"));
    }

    #[test]
    fn events_after_an_hour_are_gone() {
        let mut events = Events::default();
        events.add(EventKind::Start, Severity::Info, "started");
        assert_eq!(events.lately(now()).len(), 1);
        assert_eq!(events.lately(now() + KEPT + Duration::from_secs(1)), []);
    }
}
