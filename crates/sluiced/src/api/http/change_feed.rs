//! [`ChangeFeed`]: publishes changes of the status once a second to all subscribers of `/api/v1/live`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{Stream, stream};
use serde::Serialize;
use sluice_api::{ServiceStatus, Status, StatusChanges};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast};
use tokio::time::sleep;

use crate::api::collector::{StatusCollector, StatusSnapshot, Stopping, blocking};
use crate::host::clock::now;

/// Interval between two snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that a slow subscriber may be behind; beyond that it gets the whole status again.
const BEHIND: usize = 8;

/// Takes snapshots while there are subscribers; clones share them.
#[derive(Clone)]
pub(crate) struct ChangeFeed(Arc<Inner>);

struct Inner {
    collector: StatusCollector,
    /// `None` without subscribers.
    state: Mutex<Option<FeedState>>,
}

/// The state that all subscribers have.
struct FeedState {
    snapshot: Arc<StatusSnapshot>,
    changes: broadcast::Sender<Bytes>,
}

impl ChangeFeed {
    pub(crate) fn new(collector: StatusCollector) -> Self {
        ChangeFeed(Arc::new(Inner { collector, state: Mutex::new(None) }))
    }

    /// Subscribes: the status, and further changes.
    pub(crate) async fn subscribe(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Stopping> {
        let (waiting, changes) = self.begin().await?;
        let subscriber = Subscriber { feed: self.clone(), waiting, changes };
        Ok(stream::unfold(subscriber, async |mut subscriber| {
            let next = subscriber.next().await?;
            Some((Ok(next), subscriber))
        }))
    }

    /// The whole status that all subscribers have, and the events after it.
    async fn begin(&self) -> Result<(VecDeque<Bytes>, broadcast::Receiver<Bytes>), Stopping> {
        let mut state = self.0.state.lock().await;
        let state = match &mut *state {
            Some(state) => state,
            none => {
                let snapshot = self.0.collector.collect().await?;
                tokio::spawn(self.clone().publish_supervised());
                none.insert(FeedState { snapshot, changes: broadcast::channel(BEHIND).0 })
            }
        };
        let changes = state.changes.subscribe();
        let json = state.snapshot.json().await?;
        let status = [Bytes::from_static(b"event: status\ndata: "), json, Bytes::from_static(b"\n\n")];
        Ok((status.into(), changes))
    }

    /// Publishes changes. After a panic, all subscribers are disconnected, and the next subscriber starts the task again.
    async fn publish_supervised(self) {
        if tokio::spawn(self.clone().publish()).await.is_err() {
            *self.0.state.lock().await = None;
        }
    }

    /// Takes snapshots and publishes changes until there are no subscribers.
    async fn publish(self) {
        loop {
            sleep(INTERVAL).await;
            let snapshot = self.0.collector.collect().await;
            let mut state = self.0.state.lock().await;
            let (Ok(snapshot), Some(FeedState { snapshot: before, changes })) = (snapshot, &mut *state)
            else {
                *state = None;
                return;
            };
            let was = std::mem::replace(before, snapshot.clone());
            let event =
                blocking(move || event("changes", &changes_between(&was.status, &snapshot.status))).await;
            if event.map_or(true, |event| changes.send(event).is_err()) {
                *state = None;
                return;
            }
        }
    }
}

/// A subscriber.
struct Subscriber {
    feed: ChangeFeed,
    waiting: VecDeque<Bytes>,
    changes: broadcast::Receiver<Bytes>,
}

impl Subscriber {
    /// The next event; `None` if the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Some(next);
            }
            match self.changes.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => (self.waiting, self.changes) = self.feed.begin().await.ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut text, data).expect("keys are strings, and writing to memory cannot fail");
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// The changes between two statuses. A further probe with the same result is not a change.
fn changes_between(before: &Status, after: &Status) -> StatusChanges {
    let changed = |service: &&ServiceStatus| {
        named(&before.services, &service.name).is_none_or(|was| !is_same(was, service))
    };
    let is_gone = |service: &&ServiceStatus| named(&after.services, &service.name).is_none();
    let last = before.events.last();
    let news = after.events.iter().rev().take_while(|event| Some(*event) != last);
    let mut events: Vec<_> = news.cloned().collect();
    events.reverse();
    StatusChanges {
        at: now(),
        services: after.services.iter().filter(changed).cloned().collect(),
        gone: before.services.iter().filter(is_gone).map(|service| service.name.clone()).collect(),
        config: (before.config != after.config).then(|| after.config.clone()),
        reload: (before.reload != after.reload).then(|| after.reload.clone()),
        table: (before.table != after.table).then(|| after.table.clone()),
        host: (before.host != after.host).then(|| after.host.clone()),
        state: (before.state != after.state).then(|| after.state.clone()),
        followers: (before.followers != after.followers).then(|| after.followers.clone()),
        node: (before.node != after.node).then(|| after.node.clone()),
        announce: (before.announce != after.announce).then(|| after.announce.clone()),
        events,
    }
}

/// Compares services, which are sorted by name.
fn named<'a>(services: &'a [ServiceStatus], name: &str) -> Option<&'a ServiceStatus> {
    let at = services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
    Some(&services[at])
}

fn is_same(a: &ServiceStatus, b: &ServiceStatus) -> bool {
    let ServiceStatus {
        name,
        listeners,
        scheduler,
        state,
        ready,
        not_ready,
        quorum,
        last_hook,
        dropped,
        backends,
    } = a;
    (name, listeners, scheduler, state, dropped)
        == (&b.name, &b.listeners, &b.scheduler, &b.state, &b.dropped)
        && (ready, not_ready, quorum, last_hook) == (&b.ready, &b.not_ready, &b.quorum, &b.last_hook)
        && backends.len() == b.backends.len()
        && backends.iter().zip(&b.backends).all(|(a, b)| {
            let result = |backend: &sluice_api::BackendStatus| {
                backend.last_probe.as_ref().map(|probe| (probe.ok, probe.count, probe.detail.clone()))
            };
            let mut rest = a.clone();
            rest.last_probe.clone_from(&b.last_probe);
            result(a) == result(b) && rest == *b
        })
}
