//! Timed work of the reconcile task: refreshes and retries.
//!
//! The refresh interval begins with the last round that read the whole table. Each failed operation has its own time of the
//! next retry, which no other event changes.

use std::time::Duration;

use sluice_api::{EventKind, Severity, Timestamp};
use sluice_nft::Dataplane;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::daemon::Daemon;
use crate::daemon::aside::Aside;
use crate::fatal::chain;
use crate::host::clock::now;
use crate::reconcile::{Failure, Outcome, RoundError, Trigger};

/// Wait before the first retry; it doubles with each further retry.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Maximum wait before a retry.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A failed operation: its error, and the time of the retry.
#[derive(Debug)]
pub(crate) struct SyncFailure {
    pub(crate) error: String,
    pub(crate) differences: Vec<String>,
    pub(crate) retry: Retry,
}

/// The schedule of retries of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    delay: Duration,
    due: Instant,
    pub(crate) at: Timestamp,
}

impl Retry {
    pub(super) fn first() -> Self {
        Retry::after(RETRY_FIRST)
    }

    /// The next retry if this one is due; failures before that do not postpone it.
    pub(super) fn next_if_due(self) -> Self {
        if self.due <= Instant::now() { Retry::after((2 * self.delay).min(RETRY_MAX)) } else { self }
    }

    fn after(delay: Duration) -> Self {
        Retry { delay, due: Instant::now() + delay, at: now() + delay }
    }
}

/// Due work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A comparison of the whole table with what it should be.
    Refresh,
    /// A round after one that failed.
    Retry,
    /// A retry to enable forwarding.
    Forwarding,
    /// A retry to save the state of backends.
    Save,
    /// A retry to add and withdraw addresses.
    Addresses,
    /// A service has been ready for long enough to be announced.
    Announce,
}

impl<D: Dataplane> Daemon<D> {
    /// Waits for the next due work. No refresh is due while one goes on.
    pub(crate) async fn due(&self, is_refreshing: bool) -> Due {
        let refresh = self.config.refresh.filter(|_| !is_refreshing);
        let refresh = refresh.map(|refresh| (self.last_read + refresh, Due::Refresh));
        let again = |failure: &Option<SyncFailure>, what| failure.as_ref().map(|it| (it.retry.due, what));
        let all = [
            again(&self.sync_failure, Due::Retry),
            again(&self.forwarding_failure, Due::Forwarding),
            again(&self.save_failure, Due::Save).filter(|_| !self.save_queue.is_waiting()),
            again(&self.announce_failure, Due::Addresses),
            self.announcements.next.map(|at| (at, Due::Announce)),
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

    /// Executes due work.
    pub(crate) async fn do_due(&mut self, due: Due, aside: &mut Aside) {
        match due {
            Due::Refresh => self.begin_refresh(aside).await,
            Due::Retry => self.round(Trigger::Retry).await,
            Due::Forwarding => self.check_forwarding().await,
            Due::Save => self.save(),
            Due::Addresses => self.retry_addresses(),
            Due::Announce => drop(self.announce()),
        }
    }

    /// Checks forwarding, in rounds and after a foreign change, and enables it if configured. Enabling it also causes an event,
    /// after which there is nothing to do.
    pub(crate) async fn check_forwarding(&mut self) {
        let (mode, services) = (self.config.forwarding, self.config.services.clone());
        let result = self.ensure_forwarding(mode, &services).await;
        let before = self.forwarding_failure.take();
        match result {
            Ok(()) if before.is_some() => {
                self.events.add(EventKind::Sync, Severity::Info, "forwarding is enabled again");
                info!("forwarding is enabled again");
            }
            Ok(()) => return,
            Err(fatal) => {
                let error = fatal.to_string();
                if before.as_ref().is_none_or(|before| before.error != error) {
                    self.events.add(EventKind::Sync, Severity::Error, format!("not in sync: {error}"));
                    error!("{error}");
                }
                let retry = before.map_or_else(Retry::first, |before| before.retry.next_if_due());
                self.forwarding_failure = Some(SyncFailure { error, differences: vec![], retry });
            }
        }
        let line = self.summary_line();
        self.notify.status(&line);
    }

    /// Records the result of a round, and schedules a retry if it failed.
    pub(crate) fn record_round(
        &mut self,
        trigger: Trigger,
        result: Result<Outcome, RoundError>,
    ) -> Result<Outcome, Vec<String>> {
        if trigger.reads_kernel() {
            self.last_read = Instant::now();
        }
        self.flows.record_round(
            &result,
            &self.config.services,
            self.backend_states.effective_services(&self.config.services),
        );
        let before = self.sync_failure.take();
        if before.is_some() && result.is_ok() {
            let text = match self.forwarding_failure {
                None => "in sync again",
                Some(_) => "the table is in sync again",
            };
            self.events.add(EventKind::Sync, Severity::Info, text);
            info!("{text}");
        }
        result.map_err(|RoundError { failure, switched }| {
            let retry = before.as_ref().map_or_else(Retry::first, |before| before.retry.next_if_due());
            let error = chain(&failure);
            let differences = match failure {
                Failure::Differs { lines, .. } => lines,
                Failure::Read(_) | Failure::Commit(_) | Failure::Owned { .. } => vec![],
            };
            let extent = if switched { "partly done" } else { "nothing was changed" };
            if before.is_none() {
                self.events.add(EventKind::Sync, Severity::Error, format!("not in sync: {error} ({extent})"));
            }
            let wait = retry.due.saturating_duration_since(Instant::now()).as_millis();
            error!("reconcile: {error} ({extent}; retrying in {wait} ms)");
            differences.iter().for_each(|line| error!("{line}"));
            let problems = [error.clone()].into_iter().chain(differences.iter().cloned()).collect();
            self.sync_failure = Some(SyncFailure { error, differences, retry });
            problems
        })
    }

    /// Why the kernel or the host differs from the configuration; `None` if it does not.
    pub(crate) fn out_of_sync(&self) -> Option<String> {
        let errors = [&self.sync_failure, &self.forwarding_failure]
            .map(|failure| failure.as_ref().map(|it| &*it.error));
        let errors: Vec<&str> = errors.into_iter().flatten().collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// Records the result of saving the state of backends, and schedules a retry if it failed.
    pub(crate) fn note_saved(&mut self, result: Result<(), String>) {
        let before = self.save_failure.take();
        match result {
            Ok(()) if before.is_some() => info!("saved the state of backends again"),
            Ok(()) => {}
            Err(error) => {
                if before.as_ref().is_none_or(|before| before.error != error) {
                    warn!("{error} (a restart loses overrides and health of backends)");
                }
                let retry = before.map_or_else(Retry::first, |before| before.retry.next_if_due());
                self.save_failure = Some(SyncFailure { error, differences: vec![], retry });
            }
        }
    }
}
