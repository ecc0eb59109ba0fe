//! [`Live`]: publishes changes of the status once a second to all subscribers of `/api/v1/live`.

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

use crate::api::collector::{Look, Stopping, Teller, blocking};
use crate::host::clock::now;

/// Interval between two snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that a slow subscriber may be behind; beyond that it gets the whole status again.
const BEHIND: usize = 8;

/// Takes snapshots while there are subscribers; clones share them.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    teller: Teller,
    /// `None` without subscribers.
    told: Mutex<Option<Told>>,
}

/// The state that all subscribers have.
struct Told {
    look: Arc<Look>,
    changes: broadcast::Sender<Bytes>,
}

impl Live {
    pub(crate) fn new(teller: Teller) -> Self {
        Live(Arc::new(Inner { teller, told: Mutex::new(None) }))
    }

    /// Subscribes: the status, and further changes.
    pub(crate) async fn follow(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Stopping> {
        let (waiting, changes) = self.begin().await?;
        let follower = Follower { live: self.clone(), waiting, changes };
        Ok(stream::unfold(follower, async |mut follower| {
            let next = follower.next().await?;
            Some((Ok(next), follower))
        }))
    }

    /// The whole status that all subscribers have, and the events after it.
    async fn begin(&self) -> Result<(VecDeque<Bytes>, broadcast::Receiver<Bytes>), Stopping> {
        let mut told = self.0.told.lock().await;
        let told = match &mut *told {
            Some(told) => told,
            none => {
                let look = self.0.teller.look().await?;
                tokio::spawn(self.clone().tell_or_end());
                none.insert(Told { look, changes: broadcast::channel(BEHIND).0 })
            }
        };
        let changes = told.changes.subscribe();
        let json = told.look.json().await?;
        let status = [Bytes::from_static(b"event: status\ndata: "), json, Bytes::from_static(b"\n\n")];
        Ok((status.into(), changes))
    }

    /// The same; after a panic all subscribers are disconnected, and the next one starts again.
    async fn tell_or_end(self) {
        if tokio::spawn(self.clone().tell()).await.is_err() {
            *self.0.told.lock().await = None;
        }
    }

    /// Takes snapshots and publishes changes until there are no subscribers.
    async fn tell(self) {
        loop {
            sleep(INTERVAL).await;
            let look = self.0.teller.look().await;
            let mut told = self.0.told.lock().await;
            let (Ok(look), Some(Told { look: before, changes })) = (look, &mut *told) else {
                *told = None;
                return;
            };
            let was = std::mem::replace(before, look.clone());
            let event = blocking(move || event("changes", &changes_between(&was.status, &look.status))).await;
            if event.map_or(true, |event| changes.send(event).is_err()) {
                *told = None;
                return;
            }
        }
    }
}

/// A subscriber.
struct Follower {
    live: Live,
    waiting: VecDeque<Bytes>,
    changes: broadcast::Receiver<Bytes>,
}

impl Follower {
    /// The next event; `None` if the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Some(next);
            }
            match self.changes.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => (self.waiting, self.changes) = self.live.begin().await.ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut text, data).expect("keys are strings, and memory takes all");
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
        reload: (before.reload != after.reload).then(|| after.reload.clone()),
        table: (before.table != after.table).then(|| after.table.clone()),
        host: (before.host != after.host).then(|| after.host.clone()),
        state: (before.state != after.state).then(|| after.state.clone()),
        followers: (before.followers != after.followers).then(|| after.followers.clone()),
        events,
    }
}

/// Compares services, which are sorted by name.
fn named<'a>(services: &'a [ServiceStatus], name: &str) -> Option<&'a ServiceStatus> {
    let at = services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
    Some(&services[at])
}

fn is_same(a: &ServiceStatus, b: &ServiceStatus) -> bool {
    let ServiceStatus { name, listeners, scheduler, state, dropped, backends } = a;
    (name, listeners, scheduler, state, dropped)
        == (&b.name, &b.listeners, &b.scheduler, &b.state, &b.dropped)
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
