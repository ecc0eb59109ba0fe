//! Work of the reconciler that reads much, on threads beside the reconcile task: the inspection of a refresh, and the
//! eviction of clients.

use std::panic::resume_unwind;

use sluice_api::{OverridesReply, ReloadStatus};
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::daemon::Daemon;
use crate::daemon::loading::Clients;
use crate::daemon::overrides::PendingOverrides;
use crate::host::threads::run_yielding;
use crate::reconcile::{Conclusion, Inspected, Outcome, Stale, Trigger};
use crate::request::OverrideError;

/// Inspections of one refresh. After the last one a round reads the table.
const INSPECTIONS: u32 = 3;

/// The threads that run.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    inspection: Option<JoinHandle<Inspected>>,
    /// Inspections of the current refresh that commits outdated.
    outdated: u32,
    eviction: Option<JoinHandle<Stale>>,
    /// Answers that wait until no client has to leave a backend.
    answers: Vec<Answer>,
}

/// An answer to requests whose changes are in the kernel.
#[derive(Debug)]
pub(crate) enum Answer {
    Reload(ReloadStatus, Clients),
    Overrides(PendingOverrides, oneshot::Sender<Result<OverridesReply, OverrideError>>),
}

/// The result of a thread.
pub(crate) enum Ended {
    Inspection(Inspected),
    Eviction(Stale),
}

impl Aside {
    /// Waits for the next thread to end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Ended {
        tokio::select! {
            inspected = ended(&mut self.inspection) => Ended::Inspection(inspected),
            stale = ended(&mut self.eviction) => Ended::Eviction(stale),
        }
    }

    /// Answers when no client has to leave a backend.
    pub(crate) fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    /// Whether a refresh goes on.
    pub(crate) fn is_refreshing(&self) -> bool {
        self.inspection.is_some()
    }
}

async fn ended<T>(running: &mut Option<JoinHandle<T>>) -> T {
    let Some(thread) = running else { return std::future::pending().await };
    let result = thread.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
    *running = None;
    result
}

impl<D: Dataplane> Daemon<D> {
    /// Begins a refresh: another thread looks for something to repair, unless the next round reads the table anyway.
    pub(crate) async fn begin_refresh(&mut self, aside: &mut Aside) {
        let Some(inspection) = self.reconciler.inspection() else {
            return self.round(Trigger::Refresh).await;
        };
        let (services, states) = (self.config.services.clone(), self.backend_states.downgrade());
        aside.inspection =
            Some(spawn_blocking(move || run_yielding("inspect", || inspection.run(&services, &states))));
    }

    /// Ends a refresh, or goes on with a round that repairs, or with another inspection.
    async fn end_refresh(&mut self, inspected: Inspected, aside: &mut Aside) {
        match self.reconciler.conclude(inspected) {
            Conclusion::InSync => {
                self.ensure_host().await;
                self.note_full_round(Trigger::Refresh, Ok(Outcome::Unchanged));
            }
            Conclusion::Outdated if aside.outdated + 1 < INSPECTIONS => {
                aside.outdated += 1;
                self.begin_refresh(aside).await;
                if aside.is_refreshing() {
                    return;
                }
            }
            Conclusion::Outdated | Conclusion::Unknown => self.round(Trigger::Refresh).await,
        }
        aside.outdated = 0;
    }

    /// Begins to evict clients if they may have to leave backends, and answers requests if not.
    pub(crate) fn evict_clients(&mut self, aside: &mut Aside) {
        if aside.eviction.is_some() {
            return;
        }
        let services = self.backend_states.effective_services(&self.config.services);
        match self.reconciler.begin_eviction(services) {
            Some(eviction) => aside.eviction = Some(spawn_blocking(|| eviction.read())),
            None => self.answer_all(aside),
        }
    }

    /// Gives the answers that wait.
    pub(crate) fn answer_all(&mut self, aside: &mut Aside) {
        for answer in aside.answers.drain(..) {
            match answer {
                Answer::Reload(reply, clients) => {
                    let line = self.summary_line();
                    self.notify.ready(&line);
                    clients.into_iter().for_each(|client| drop(client.send(reply.clone())));
                }
                Answer::Overrides(done, client) => {
                    drop(tokio::spawn(async { client.send(done.answer().await) }));
                }
            }
        }
    }

    /// Evicts clients at the start, when nothing else waits.
    pub(crate) async fn evict_clients_at_start(&mut self) {
        let mut aside = Aside::default();
        self.evict_clients(&mut aside);
        while aside.eviction.is_some() {
            let ended = aside.next().await;
            self.end_aside(ended, &mut aside).await;
            self.evict_clients(&mut aside);
        }
    }

    /// Applies the result of a thread.
    pub(crate) async fn end_aside(&mut self, ended: Ended, aside: &mut Aside) {
        match ended {
            Ended::Inspection(inspected) => self.end_refresh(inspected, aside).await,
            Ended::Eviction(stale) => {
                let services = self.backend_states.effective_services(&self.config.services);
                if let Err(error) = self.reconciler.end_eviction(services, stale).await {
                    // The error was logged; a retry evicts them.
                    let _ = self.record_round(Trigger::Health, Err(error));
                }
            }
        }
    }
}
