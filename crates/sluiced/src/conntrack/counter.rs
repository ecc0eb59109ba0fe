//! A thread that counts flows, so that nobody else waits for a large conntrack.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use sluice_core::balance::Load;
use sluice_core::census::Census;
use sluice_core::way::Way;
use sluice_netlink::conntrack::{Conntrack, Filter};
use sluice_nft::Ip;
use tokio::sync::oneshot;
use tokio::time::{self, sleep_until};
use tracing::warn;

use crate::host::threads;

/// Shortest time from one count to the next, for those who follow them.
const INTERVAL: Duration = Duration::from_millis(500);

/// Counting takes at most one part in so many of the time.
pub(crate) const REST: u32 = 10;

/// Who counts flows.
#[derive(Clone, Debug)]
pub struct Counts(Sender<Question>);

/// Somebody wants a count.
#[derive(Debug)]
pub struct Question {
    /// Whether flows that began since the last such count are to be told from others.
    pub follow: bool,
    /// Who waits; may be gone.
    pub answer: oneshot::Sender<io::Result<Counted>>,
}

/// A count, and when it was made.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What was found; the same for all who asked before it began.
    pub census: Arc<Census>,
    /// Its end.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Counts {
    /// Starts the thread in the network namespace of the caller. It ends with the last handle.
    pub fn start() -> Self {
        let (sender, questions) = channel();
        let started = Conntrack::open().and_then(|mut conntrack| {
            let mut seen = None;
            let count = move |follow: bool| count(&mut conntrack, follow.then_some(&mut seen));
            threads::start("count flows", move || serve(count, &questions))
        });
        if let Err(error) = started {
            warn!("open conntrack: {error} (flows are not counted)");
        }
        Counts(sender)
    }

    /// Hands all questions to somebody else.
    pub fn to(listener: Sender<Question>) -> Self {
        Counts(listener)
    }

    /// Flows as of now; `None` if they cannot be counted.
    pub(crate) async fn count(&self) -> Option<Counted> {
        self.ask(false).await.ok()?.inspect_err(complain).ok()
    }

    fn ask(&self, follow: bool) -> oneshot::Receiver<io::Result<Counted>> {
        let (answer, receiver) = oneshot::channel();
        // Where nobody listens the answer never comes, which is told by its channel.
        let _ = self.0.send(Question { follow, answer });
        receiver
    }
}

/// Counts one after the other, with time between them.
pub(crate) struct Rounds {
    counter: Counts,
    due: time::Instant,
    asked: Option<oneshot::Receiver<io::Result<Counted>>>,
}

impl Rounds {
    /// The first is due at once.
    pub(crate) fn new(counter: Counts) -> Self {
        Rounds { counter, due: time::Instant::now(), asked: None }
    }

    /// The next count. May be called again after it was given up.
    pub(crate) async fn next(&mut self) -> Counted {
        loop {
            let asked = match &mut self.asked {
                Some(asked) => asked,
                None => {
                    sleep_until(self.due).await;
                    self.asked.insert(self.counter.ask(true))
                }
            };
            let answer = asked.await;
            self.asked = None;
            let took = answer.as_ref().map_or(Duration::ZERO, |a| a.as_ref().map_or(INTERVAL, |c| c.took));
            self.due = time::Instant::now() + INTERVAL.max(REST * took);
            match answer {
                Ok(Ok(counted)) => return counted,
                Ok(Err(error)) => complain(&error),
                Err(_) => {}
            }
        }
    }
}

fn complain(error: &io::Error) {
    warn!("count flows: {error} (least-connections and max_connections follow the last count)");
}

/// Answers all who wait with one count, so that those who ask often do not have the others wait for as many dumps of
/// conntrack.
fn serve(mut count: impl FnMut(bool) -> io::Result<Census>, questions: &Receiver<Question>) {
    while let Ok(first) = questions.recv() {
        let mut waiting: Vec<_> = [first].into_iter().chain(questions.try_iter()).collect();
        waiting.retain(|question| !question.answer.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let began = Instant::now();
        let census = count(waiting.iter().any(|question| question.follow));
        let at = Instant::now();
        let counted = census.map(|census| Counted { census: Arc::new(census), at, took: at - began });
        for Question { answer, .. } in waiting {
            // An I/O error cannot be copied whole.
            let error = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
            let _ = answer.send(counted.as_ref().map(Counted::clone).map_err(error));
        }
    }
}

/// Counts translated flows. With `seen`, those that were not there last time have begun since.
fn count(conntrack: &mut Conntrack, seen: Option<&mut Option<HashSet<u32>>>) -> io::Result<Census> {
    let before = seen.as_ref().and_then(|seen| seen.as_ref());
    let (mut census, mut now) = (Census::default(), HashSet::new());
    for ip in Ip::ALL {
        conntrack.each(&Filter { translated: true, ..Filter::all(ip) }, |flow| {
            let is_new = seen.is_some() && now.insert(flow.id);
            let opened = is_new && before.is_some_and(|before| !before.contains(&flow.id));
            let way = Way { protocol: flow.protocol, to: flow.to, backend: flow.backend };
            census.add(way, Load { active: flow.is_active().into(), opened: opened.into() });
        })?;
    }
    if let Some(seen) = seen {
        *seen = Some(now);
    }
    Ok(census)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_get_one_count_and_who_is_gone_costs_none() {
        let (sender, questions) = channel();
        let counts = Counts(sender);
        let gone: Vec<_> = (0..3).map(|_| counts.ask(false)).collect();
        drop(gone);
        let mut first: Vec<_> = [false, true, false].map(|follow| counts.ask(follow)).into();
        let (mut counted, mut late) = (vec![], None);
        let mut counts = Some(counts);
        serve(
            |follow| {
                counted.push(follow);
                // Questions that arrive during a count are answered by the next count; none arrives after the last handle.
                late = late.take().or_else(|| Some(counts.take()?.ask(false)));
                match counted.len() {
                    1 => Ok(Census::default()),
                    _ => Err(io::ErrorKind::OutOfMemory.into()),
                }
            },
            &questions,
        );
        assert_eq!(counted, [true, false]);
        for answer in &mut first {
            assert_eq!(*answer.try_recv().unwrap().unwrap().census, Census::default());
        }
        let late = late.unwrap().try_recv().unwrap();
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
