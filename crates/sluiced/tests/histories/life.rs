//! Ends and starts of daemons in a history.

use std::time::Duration;

use sluice_core::model::Config;
use sluiced::request::Request;
use tokio::time::Instant;

use crate::event::{Answers, Disk, Edit, End};
use crate::history::{History, RETRY, Verdict, load};
use crate::machine;
use crate::oracles;

impl History<'_> {
    /// Starts another daemon where one was killed at a commit, or could not start because of a fault.
    pub async fn revive(&mut self) -> Verdict {
        // Each fault prevents one start at most.
        for _ in 0..20 {
            if self.machine.runs() {
                return Ok(());
            }
            let was_faulty = self.machine.plane.is_faulty();
            let fate = self.machine.fate().await.unwrap_or_default();
            self.machine.kill().await;
            self.forgetful |= self.machine.disk.is_slow();
            self.overlook();
            self.reach.hit("daemon killed at a commit, or refused a start by a fault");
            self.learn();
            self.start(self.model.config.clone(), true);
            self.machine.settle().await;
            if !self.machine.runs() && !was_faulty {
                return Err(format!(
                    "the daemon does not start: {:?}, before {fate}",
                    self.machine.fate().await
                ));
            }
        }
        Err("the daemon does not come back".into())
    }

    pub fn start(&mut self, config: Config, unsure: bool) {
        if self.model.restart(config) && !unsure {
            self.reach.hit("what was saved of a backend moved to its new name");
        }
        // What could not be saved is saved by a retry, or by the refresh.
        let saved = self.model.config.refresh.unwrap_or(RETRY) + RETRY;
        let is_back = self.state_since.is_some_and(|since| Instant::now() - since < saved);
        self.unsure |= unsure || !self.machine.disk.keeps() || self.forgetful && is_back;
        self.started = Instant::now();
        self.forwarding_off = None;
        self.machine.start();
    }

    pub async fn restart(&mut self, end: End, edits: &[Edit]) -> Verdict {
        let keeps = self.file.keep;
        match end {
            End::KillAtCommit(nth, after) => {
                self.machine.plane.kill_at_commit(nth, after);
                return Ok(());
            }
            End::Kill => {
                self.machine.kill().await;
                self.unsure_of_health |= self.is_fresh;
                self.learn_what_may_be_lost();
                // What probes found may not have been written yet; what operators were told must have been.
                self.unsure_of_health |= self.machine.disk.is_slow();
                // A change of forwarding waits for its record, but not as long as a slow disk takes.
                self.forgetful |= self.machine.disk.is_slow();
            }
            End::Stop | End::HandOver => {
                let request = if end == End::Stop { Request::Stop } else { Request::HandOver };
                let was_faulty = self.machine.plane.is_faulty();
                self.is_fresh |= self.learn().1;
                // It may be killed at a commit before it saves what it knows.
                self.unsure_of_health |= was_faulty && self.is_fresh;
                let stopped = self.machine.end(request).await;
                self.learn_what_may_be_lost();
                if end == End::HandOver || keeps {
                    self.machine.drop_sweeps();
                }
                if was_faulty {
                    self.overlook();
                }
                if end == End::Stop && was_faulty {
                    // The table is gone, or it is not, for want of a commit; and so are flows.
                    self.machine.plane.take_record();
                    self.machine.conntrack.take_ended();
                    self.table = self.machine.plane.table();
                } else if end == End::Stop {
                    stopped.map_err(|error| format!("stop: {error}"))?;
                    oracles::stopped(self, keeps).await?;
                }
            }
        }
        self.learn();
        let before = self.file.clone();
        edits.iter().for_each(|edit| self.file.edit(edit));
        self.machine.configure(&self.file);
        let config = load(&self.machine).unwrap_or_else(|_| {
            self.file = before;
            self.machine.configure(&self.file);
            self.model.config.clone()
        });
        self.start(config, self.machine.plane.is_faulty());
        Ok(())
    }

    /// A daemon may have ended between a commit and its look at the flows.
    fn overlook(&mut self) {
        let flows = self.machine.conntrack.flows().into_iter();
        self.overlooked.extend(flows.map(|known| known.flow.id));
    }

    /// Hands to the model what probes found shortly before a daemon ended, which need not have been saved.
    fn learn_what_may_be_lost(&mut self) {
        self.unsure_of_health |= self.learn().1;
    }

    /// Nothing fails any more; what is due happens, and then nothing more.
    pub async fn finish(&mut self) -> Verdict {
        self.machine.plane.heal();
        self.machine.disk.becomes(Disk::Well);
        self.state_since.get_or_insert(Instant::now());
        (0..6).for_each(|host| self.machine.hosts.set(machine::host(host), Answers::Well));
        self.before = self.model.services().clone();
        self.machine.pass(RETRY).await;
        self.observe().await?;
        if self.model.moves(Instant::now()) {
            return Ok(());
        }
        let tried = self.machine.plane.tried();
        let refresh = self.model.config.refresh.unwrap_or(RETRY);
        self.machine.pass(refresh + Duration::from_secs(6)).await;
        // A host that was hanging until then is found well by the next probe of a long interval.
        if self.learn().1 {
            return Ok(());
        }
        self.reach.hit("quiet refresh");
        match self.machine.plane.tried() - tried {
            0 => Ok(()),
            commits => Err(format!("a refresh with nothing to do made {commits} commits")),
        }
    }
}
