//! What the reconcile task has to do without a request, and when: the refresh, and whatever failed once more.
//!
//! The refresh counts from the last round that read the kernel as a whole. Each thing that failed has its own time for the
//! next attempt, which no other event moves.

use std::time::Duration;

use sluice_api::{EventKind, Severity, Timestamp};
use sluice_nft::Dataplane;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::daemon::{Daemon, ensure_forwarding};
use crate::fatal::chain;
use crate::host::clock::now;
use crate::reconcile::{Failure, Outcome, RoundError, Trigger};

/// Wait before the first retry; each one after waits twice as long as the one before.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest wait before a retry.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Something failed: why, and when it is tried again.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: String,
    pub(crate) differences: Vec<String>,
    pub(crate) retry: Retry,
}

/// When something is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    delay: Duration,
    due: Instant,
    pub(crate) at: Timestamp,
}

impl Retry {
    fn first() -> Self {
        Retry::after(RETRY_FIRST)
    }

    /// The one after this one, if this one is due; events that fail before do not put it off.
    fn next_if_due(self) -> Self {
        if self.due <= Instant::now() { Retry::after((2 * self.delay).min(RETRY_MAX)) } else { self }
    }

    fn after(delay: Duration) -> Self {
        Retry { delay, due: Instant::now() + delay, at: now() + delay }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A round that reads the kernel.
    Round(Trigger),
    /// To switch forwarding on, which could not be done.
    Forwarding,
    /// To save the state of backends, which could not be done.
    Save,
}

impl<D: Dataplane> Daemon<D> {
    /// Waits until something is due without a request. What is due first comes first.
    pub(crate) async fn due(&self) -> Due {
        let refresh =
            self.config.refresh.map(|refresh| (self.last_look + refresh, Due::Round(Trigger::Refresh)));
        let again = |trouble: &Option<Trouble>, what| trouble.as_ref().map(|it| (it.retry.due, what));
        let all = [
            again(&self.trouble, Due::Round(Trigger::Retry)),
            again(&self.forwarding, Due::Forwarding),
            again(&self.unsaved, Due::Save).filter(|_| !self.saves.is_waiting()),
            refresh,
        ];
        match all.into_iter().flatten().min_by_key(|(at, _)| *at) {
            None => std::future::pending().await,
            Some((at, due)) => {
                sleep_until(at).await;
                due
            }
        }
    }

    /// Does what is due.
    pub(crate) async fn do_due(&mut self, due: Due) {
        match due {
            Due::Round(trigger) => self.round(trigger).await,
            Due::Forwarding => self.check_forwarding(),
            Due::Save => self.remember(),
        }
    }

    /// Makes sure that forwarding is as configured: in rounds, and when somebody changed it. Switching it on is heard of as a
    /// change, too, which finds nothing to do.
    pub(crate) fn check_forwarding(&mut self) {
        let result = ensure_forwarding(&mut self.sysctls, &self.config);
        let before = self.forwarding.take();
        match result {
            Ok(()) if before.is_some() => {
                self.events.add(EventKind::Sync, Severity::Info, "forwarding is on again");
                info!("forwarding is on again");
            }
            Ok(()) => return,
            Err(fatal) => {
                let error = fatal.to_string();
                if before.as_ref().is_none_or(|before| before.error != error) {
                    self.events.add(EventKind::Sync, Severity::Error, format!("not in sync: {error}"));
                    error!("{error}");
                }
                let retry = before.map_or_else(Retry::first, |before| before.retry.next_if_due());
                self.forwarding = Some(Trouble { error, differences: vec![], retry });
            }
        }
        let line = self.line();
        self.notify.status(&line);
    }

    /// Notes the end of a round, and when to try again if it failed.
    pub(crate) fn settle(
        &mut self,
        trigger: Trigger,
        result: Result<Outcome, RoundError>,
    ) -> Result<Outcome, Vec<String>> {
        if trigger.looks() {
            self.last_look = Instant::now();
        }
        self.flows.settle(&result, &self.config.services, self.standings.in_force(&self.config.services));
        let before = self.trouble.take();
        if before.is_some() && result.is_ok() {
            let text = match self.forwarding {
                None => "in sync again",
                Some(_) => "the table is in sync again",
            };
            self.events.add(EventKind::Sync, Severity::Info, text);
            info!("{text}");
        }
        result.map_err(|RoundError { failure, made }| {
            let retry = before.as_ref().map_or_else(Retry::first, |before| before.retry.next_if_due());
            let error = chain(&failure);
            let differences = match failure {
                Failure::Differs { lines, .. } => lines,
                _ => vec![],
            };
            let extent = if made { "partly done" } else { "nothing was changed" };
            if before.is_none() {
                self.events.add(EventKind::Sync, Severity::Error, format!("not in sync: {error} ({extent})"));
            }
            let wait = retry.due.saturating_duration_since(Instant::now()).as_millis();
            error!("reconcile: {error} ({extent}; next attempt in {wait} ms)");
            differences.iter().for_each(|line| error!("{line}"));
            let problems = [error.clone()].into_iter().chain(differences.iter().cloned()).collect();
            self.trouble = Some(Trouble { error, differences, retry });
            problems
        })
    }

    /// Why the kernel or the host is not as configured; `None`: it is.
    pub(crate) fn out_of_sync(&self) -> Option<String> {
        let errors = [&self.trouble, &self.forwarding].map(|trouble| trouble.as_ref().map(|it| &*it.error));
        let errors: Vec<&str> = errors.into_iter().flatten().collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// Notes whether the state of backends could be saved, and when to try again if it could not.
    pub(crate) fn note_saved(&mut self, result: Result<(), String>) {
        let before = self.unsaved.take();
        match result {
            Ok(()) if before.is_some() => info!("saved the state of backends again"),
            Ok(()) => {}
            Err(error) => {
                if before.as_ref().is_none_or(|before| before.error != error) {
                    warn!("{error} (a restart will not know what is said of backends, nor their health)");
                }
                let retry = before.map_or_else(Retry::first, |before| before.retry.next_if_due());
                self.unsaved = Some(Trouble { error, differences: vec![], retry });
            }
        }
    }
}
