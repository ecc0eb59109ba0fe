//! [`Progress`]: a lookup from result to result. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sluice_core::model::{Answer, Found, Lookup, Resolver};
use tokio::time::Instant;

use crate::MAX_FOUND;
use crate::reply::{LookupError, Reply};
use crate::schedule::{after_answer, after_failure};
use crate::state::{LookupFailure, LookupState};

/// What the next step of a lookup depends on, besides its state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Time of the first of the empty answers that have not become the answer yet.
    empty_since: Option<Instant>,
    /// Number of errors in a row.
    failures: u32,
}

/// A finished lookup.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub lookup: &'a Lookup,
    pub result: Result<Reply, LookupError>,
    pub took: Duration,
    pub at: Timestamp,
    pub now: Instant,
    pub resolver: &'a Resolver,
    /// Time after which files are read again.
    pub refresh: Option<Duration>,
    /// Spreads queries.
    pub unit: f64,
}

/// What a result changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub is_new_answer: bool,
    /// Whether there is an error now and was none, or the reverse.
    pub is_new_state: bool,
    /// Time until the next lookup; `None`: only when a file changes.
    pub wait: Option<Duration>,
}

impl Progress {
    /// Records a result. An error never removes the answer.
    pub(crate) fn observe(&mut self, state: &mut LookupState, finished: Finished<'_>) -> Step {
        let Finished { lookup, result, took, at, now, resolver, refresh, unit } = finished;
        let was_stale = (state.error.is_some(), state.is_restored);
        let is_first = state.answered.is_none() || state.is_restored;
        (state.took, state.queries) = (took, state.queries + 1);
        let (reply, error, rest_of_hold) = match result.and_then(within_bounds) {
            Err(LookupError(message)) => (None, Some(message), None),
            Ok(reply) if reply.answer.found.is_empty() && !self.may_be_empty(state, now, resolver) => {
                let since = *self.empty_since.get_or_insert(now);
                let hold = (since + resolver.hold).saturating_duration_since(now);
                let message = reply.error.unwrap_or_else(|| empty(lookup));
                (None, Some(message), Some(hold))
            }
            Ok(mut reply) => {
                self.empty_since = None;
                let error = reply.error.take();
                (Some(reply), error, None)
            }
        };
        let ttl = reply.as_ref().and_then(|reply| reply.ttl);
        let is_new_answer = reply.is_some_and(|reply| adopt(state, reply, at));
        let wait = match &error {
            Some(_) => {
                self.failures = self.failures.saturating_add(1);
                let wait = after_failure(self.failures, resolver, unit);
                Some(rest_of_hold.map_or(wait, |rest| wait.min(rest)))
            }
            None => {
                self.failures = 0;
                match lookup {
                    Lookup::Files(_) => refresh,
                    Lookup::Host(..) | Lookup::Srv(..) => Some(after_answer(ttl, resolver, is_first, unit)),
                }
            }
        };
        state.failures += u64::from(error.is_some());
        state.error = error.map(|message| {
            let since = state.error.as_ref().map_or(at, |error| error.since);
            LookupFailure { message, since, at }
        });
        let is_new_state = (state.error.is_some(), state.is_restored) != was_stale;
        Step { is_new_answer, is_new_state, wait }
    }

    /// Whether an empty answer counts: the last one was empty, too, or empty ones have lasted for `hold`.
    fn may_be_empty(&self, state: &LookupState, now: Instant, resolver: &Resolver) -> bool {
        let is_empty = state.answer.as_ref().is_some_and(|answer| answer.found.is_empty());
        let has_lasted = |since| now.saturating_duration_since(since) >= resolver.hold;
        is_empty || resolver.hold.is_zero() || self.empty_since.is_some_and(has_lasted)
    }
}

fn within_bounds(reply: Reply) -> Result<Reply, LookupError> {
    match reply.answer.found.len() {
        0..=MAX_FOUND => Ok(reply),
        more => Err(LookupError(format!("{more} backends; at most {MAX_FOUND} are allowed"))),
    }
}

fn empty(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Host(..) | Lookup::Srv(..) => "the name has no such records (NODATA)".to_owned(),
        Lookup::Files(_) => "no file matches".to_owned(),
    }
}

/// Replaces the answer; `false` if it is equal.
fn adopt(state: &mut LookupState, reply: Reply, at: Timestamp) -> bool {
    let mut found = reply.answer.found;
    let key = |found: &Found| (found.address, found.port);
    if let Some(previous) = state.answer.as_ref().filter(|_| reply.keeps_previous) {
        let keys: BTreeSet<_> = found.iter().map(key).collect();
        let kept: Vec<_> =
            previous.found.iter().filter(|found| !keys.contains(&key(found))).cloned().collect();
        found.extend(kept);
    }
    // Servers rotate records: an answer in another order is an equal one.
    found.sort_unstable();
    found.dedup_by_key(|found| key(found));
    let answer = Answer { found };
    (state.answered, state.is_restored) = (Some(at), false);
    let is_new = state.answer.as_deref() != Some(&answer);
    if is_new {
        state.answer = Some(Arc::new(answer));
        state.changes += 1;
    }
    is_new
}
