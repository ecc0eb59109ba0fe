//! [`StatusCollector`]: takes status snapshots for readers, on the readers' threads. The reconcile task only hands out a [`View`];
//! reading counters and building the status happens here.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use sluice_api::{HostStatus, Status};
use sluice_netlink::Proc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::warn;

pub use crate::api::metrics::Format;
use crate::conntrack::counter::{FlowCount, FlowCounter, REST};
use crate::counters::totals::TotalsSnapshot;
use crate::fatal::chain;
use crate::request::Request;
use crate::status::view::{ReadCounters, View};

/// Maximum number of reads of the counters if the table changes meanwhile; then the last counts are used.
const ATTEMPTS: u32 = 10;

/// Wait between two reads. A change of two commits takes a little more than a hundred milliseconds.
const PAUSE: Duration = Duration::from_millis(20);

/// Shared by all readers; clones are the same.
#[derive(Clone)]
pub struct StatusCollector(Arc<Inner>);

struct Inner {
    requests: mpsc::Sender<Request>,
    counter: FlowCounter,
    read: Arc<Mutex<ReadCounters>>,
    proc: Proc,
    last: tokio::sync::Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// Concurrent readers get the same snapshot.
    snapshot: Weak<StatusSnapshot>,
    flows: Option<Arc<FlowCount>>,
}

/// A snapshot of the status.
#[derive(Debug)]
pub struct StatusSnapshot {
    began: Instant,
    /// The status.
    pub status: Status,
    pub(crate) view: View,
    pub(crate) counted: TotalsSnapshot,
    /// Number of flows that conntrack could not insert since the kernel started.
    pub(crate) insert_failed: Option<u64>,
    json: OnceLock<Bytes>,
    written: [OnceLock<Bytes>; 2],
}

/// The daemon is stopping, and there is no answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("sluiced is stopping")]
pub struct Stopping;

impl StatusCollector {
    /// Gets views through `requests`, counts flows with `counter`, and reads the kernel with `read`.
    pub fn new(
        requests: mpsc::Sender<Request>,
        counter: FlowCounter,
        read: ReadCounters,
        proc: Proc,
    ) -> Self {
        let (read, last) = (Arc::new(Mutex::new(read)), tokio::sync::Mutex::default());
        StatusCollector(Arc::new(Inner { requests, counter, read, proc, last }))
    }

    /// A current snapshot. Readers that wait while another snapshot is taken share the next one.
    pub async fn collect(&self) -> Result<Arc<StatusSnapshot>, Stopping> {
        let asked = Instant::now();
        let mut last = self.0.last.lock().await;
        if let Some(snapshot) = last.snapshot.upgrade().filter(|snapshot| snapshot.began >= asked) {
            return Ok(snapshot);
        }
        let began = Instant::now();
        let flows = self.flows(&mut last.flows).await;
        let (mut left, mut view) = (ATTEMPTS, self.view().await?);
        let read = loop {
            left -= 1;
            let read = self.0.read.clone();
            let (returned, counted) = blocking(move || {
                let counted = view.count(&mut read.lock().unwrap_or_else(PoisonError::into_inner));
                (view, counted)
            })
            .await?;
            view = returned;
            match counted {
                Ok(false) if left > 0 => {
                    sleep(PAUSE).await;
                    view = self.view().await?;
                }
                other => break other,
            }
        };
        if let Err(error) = read {
            warn!("count connections: {} (the last counts are shown)", chain(&error));
        }
        view.save().await;
        let (host, insert_failed) = (self.host(), self.0.proc.conntrack_insert_failed());
        let snapshot = blocking(move || {
            let counted = view.totals.counted();
            let status = view.status(&counted, flows.as_ref().map(|flows| &*flows.flow_counts), host);
            let (json, written) = Default::default();
            Arc::new(StatusSnapshot { began, status, view, counted, insert_failed, json, written })
        })
        .await?;
        last.snapshot = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }

    /// The view of the reconcile task.
    pub(crate) async fn view(&self) -> Result<View, Stopping> {
        let (sender, view) = oneshot::channel();
        self.0.requests.send(Request::View(sender)).await.map_err(|_| Stopping)?;
        view.await.map_err(|_| Stopping)
    }

    /// Live flows. If there are many, they are counted less often.
    async fn flows(&self, last: &mut Option<Arc<FlowCount>>) -> Option<Arc<FlowCount>> {
        if last.as_ref().is_none_or(|counted| counted.at.elapsed() >= REST * counted.took) {
            *last = self.0.counter.count().await.map(Arc::new);
        }
        last.clone()
    }

    fn host(&self) -> HostStatus {
        let number = |key| self.0.proc.sysctl(key).ok()?.parse().ok();
        HostStatus {
            conntrack_entries: number("net/netfilter/nf_conntrack_count"),
            conntrack_max: number("net/netfilter/nf_conntrack_max"),
        }
    }
}

impl StatusSnapshot {
    /// A cache of the encoded metrics.
    pub(crate) fn written(&self, format: Format) -> &OnceLock<Bytes> {
        &self.written[format as usize]
    }

    /// The status as JSON.
    pub(crate) async fn json(self: &Arc<Self>) -> Result<Bytes, Stopping> {
        let snapshot = self.clone();
        blocking(move || {
            let write = || {
                serde_json::to_vec(&snapshot.status).expect("keys are strings, so it is valid JSON").into()
            };
            snapshot.json.get_or_init(write).clone()
        })
        .await
    }
}

/// Runs a slow operation on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_cancelled) => Stopping,
    })
}

impl fmt::Debug for StatusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusCollector")
    }
}
