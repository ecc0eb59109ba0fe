//! [`FlowCounter`]: a thread that counts live flows, so that no task waits for the dump of a large conntrack.
//!
//! The thread owns a conntrack socket and the ids of the flows of the last count. `CountSchedule` runs on the reconcile task.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::pool::balance::Load;
use sluice_netlink::conntrack::Conntrack;
use tokio::sync::oneshot;
use tokio::time::{self, sleep_until};
use tracing::warn;

use crate::conntrack::dump;
use crate::conntrack::tuple::nat_tuple;
use crate::host::threads;

/// Minimum time between scheduled counts.
const INTERVAL: Duration = Duration::from_millis(500);

/// Scheduled counts take at most this fraction (1 / N) of the time.
pub(crate) const REST: u32 = 10;

/// A handle of the thread. Clones are the same thread; it ends with the last handle.
#[derive(Clone, Debug)]
pub struct FlowCounter(Sender<CountRequest>);

/// A request for a count.
#[derive(Debug)]
pub struct CountRequest {
    /// Whether to count separately the flows that began since the last count with this flag.
    pub follow: bool,
    /// Receives the count. The receiver may be dropped.
    pub answer: oneshot::Sender<io::Result<FlowCount>>,
}

/// A count of live flows.
#[derive(Clone, Debug)]
pub struct FlowCount {
    /// The flows by NAT tuple. Requests that arrived before the count began share it.
    pub flow_counts: Arc<FlowCounts>,
    /// Time of the end of the count.
    pub at: Instant,
    /// Duration of the count.
    pub took: Duration,
}

impl FlowCounter {
    /// Starts the thread in the network namespace of the caller.
    pub fn start() -> Self {
        let (sender, requests) = channel();
        let started = Conntrack::open().and_then(|mut conntrack| {
            let mut seen = None;
            let count = move |follow: bool| count(&mut conntrack, follow.then_some(&mut seen));
            threads::start_yielding("count flows", move || serve(count, &requests))
        });
        if let Err(error) = started {
            warn!("open conntrack: {error} (flows are not counted)");
        }
        FlowCounter(sender)
    }

    /// A handle that sends requests to this channel instead of a thread.
    pub fn to(requests: Sender<CountRequest>) -> Self {
        FlowCounter(requests)
    }

    /// Counts the current flows. `None` if they cannot be counted; the failure is logged.
    pub(crate) async fn count(&self) -> Option<FlowCount> {
        self.request(false).await.ok()?.inspect_err(warn_failed).ok()
    }

    fn request(&self, follow: bool) -> oneshot::Receiver<io::Result<FlowCount>> {
        let (answer, receiver) = oneshot::channel();
        // Without a thread, the answer channel is closed.
        let _ = self.0.send(CountRequest { follow, answer });
        receiver
    }
}

/// Requests one count after another, with a wait between them.
pub(crate) struct CountSchedule {
    counter: FlowCounter,
    due: time::Instant,
    requested: Option<oneshot::Receiver<io::Result<FlowCount>>>,
}

impl CountSchedule {
    /// A schedule whose first count is due immediately.
    pub(crate) fn new(counter: FlowCounter) -> Self {
        CountSchedule { counter, due: time::Instant::now(), requested: None }
    }

    /// Waits for the next count. Cancel safe: a pending request is kept.
    pub(crate) async fn next(&mut self) -> FlowCount {
        loop {
            let requested = match &mut self.requested {
                Some(requested) => requested,
                None => {
                    sleep_until(self.due).await;
                    self.requested.insert(self.counter.request(true))
                }
            };
            let answer = requested.await;
            self.requested = None;
            let took = answer.as_ref().map_or(Duration::ZERO, |a| a.as_ref().map_or(INTERVAL, |c| c.took));
            self.due = time::Instant::now() + INTERVAL.max(REST * took);
            match answer {
                Ok(Ok(counted)) => return counted,
                Ok(Err(error)) => warn_failed(&error),
                Err(_) => {}
            }
        }
    }
}

fn warn_failed(error: &io::Error) {
    warn!("count flows: {error} (least-connections and max_connections use the last count)");
}

/// Answers all waiting requests with one count, so that frequent requests do not make others wait for as many dumps of
/// conntrack.
fn serve(mut count: impl FnMut(bool) -> io::Result<FlowCounts>, requests: &Receiver<CountRequest>) {
    while let Ok(first) = requests.recv() {
        let mut waiting: Vec<_> = [first].into_iter().chain(requests.try_iter()).collect();
        waiting.retain(|request| !request.answer.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let began = Instant::now();
        let flow_counts = count(waiting.iter().any(|request| request.follow));
        let at = Instant::now();
        let counted = flow_counts.map(|flow_counts| FlowCount {
            flow_counts: Arc::new(flow_counts),
            at,
            took: at - began,
        });
        for CountRequest { answer, .. } in waiting {
            // `io::Error` does not implement `Clone`.
            let error = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
            let _ = answer.send(counted.as_ref().map(FlowCount::clone).map_err(error));
        }
    }
}

/// Counts translated flows. With `seen`, flows that are not in it count as opened, and it is replaced.
fn count(conntrack: &mut Conntrack, seen: Option<&mut Option<HashSet<u32>>>) -> io::Result<FlowCounts> {
    let before = seen.as_ref().and_then(|seen| seen.as_ref());
    let (mut flow_counts, mut now) = (FlowCounts::default(), HashSet::new());
    dump::each_translated(conntrack, |flow| {
        let is_new = seen.is_some() && now.insert(flow.id);
        let opened = is_new && before.is_some_and(|before| !before.contains(&flow.id));
        flow_counts.add(nat_tuple(&flow), Load { active: flow.is_active().into(), opened: opened.into() });
    })?;
    if let Some(seen) = seen {
        *seen = Some(now);
    }
    Ok(flow_counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_requests_share_one_count_and_dropped_requests_cause_none() {
        let (sender, requests) = channel();
        let counts = FlowCounter(sender);
        let dropped: Vec<_> = (0..3).map(|_| counts.request(false)).collect();
        drop(dropped);
        let mut first: Vec<_> = [false, true, false].map(|follow| counts.request(follow)).into();
        let (mut counted, mut late) = (vec![], None);
        let mut counts = Some(counts);
        serve(
            |follow| {
                counted.push(follow);
                // A request that arrives during a count is answered by the next count. The last handle is dropped after one.
                late = late.take().or_else(|| Some(counts.take()?.request(false)));
                match counted.len() {
                    1 => Ok(FlowCounts::default()),
                    _ => Err(io::ErrorKind::OutOfMemory.into()),
                }
            },
            &requests,
        );
        assert_eq!(counted, [true, false]);
        for answer in &mut first {
            assert_eq!(*answer.try_recv().unwrap().unwrap().flow_counts, FlowCounts::default());
        }
        let late = late.unwrap().try_recv().unwrap();
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
