//! The hosts of backends: their answers to probes and clients, and the results of probes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluice_core::model::{Probe, ProbeTarget};
use sluice_probe::{Attempt, ProbeOutcome, ProbeResult};
use tokio::time::{Instant, sleep};

use crate::event::Answers;
use crate::file::WRONG_PORT;

/// Clones are the same hosts.
#[derive(Clone, Default)]
pub struct Hosts(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    answers: BTreeMap<IpAddr, Answers>,
    /// Probes of hosts that flap so far.
    flaps: BTreeMap<IpAddr, u32>,
    found: Vec<Found>,
}

/// What a probe found.
#[derive(Clone, Debug)]
pub struct Found {
    pub probe: Probe,
    pub target: ProbeTarget,
    pub timeout: Duration,
    pub success: bool,
    pub at: Instant,
}

impl Hosts {
    pub fn set(&self, host: IpAddr, answers: Answers) {
        self.inner().answers.insert(host, answers);
    }

    pub fn answers(&self, host: IpAddr) -> Answers {
        self.inner().answers.get(&host).copied().unwrap_or(Answers::Well)
    }

    /// Whether any host answers differently each time.
    pub fn any_flaps(&self) -> bool {
        self.inner().answers.values().any(|answers| *answers == Answers::Flaps)
    }

    /// What probes found since this was last asked, in order.
    pub fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut self.inner().found)
    }

    /// What a daemon probes these hosts with.
    pub fn attempt(&self) -> Attempt {
        let hosts = self.clone();
        Arc::new(move |probe, target, timeout, _| {
            let hosts = hosts.clone();
            Box::pin(async move {
                let answers = match target.port {
                    WRONG_PORT => Answers::Refuses,
                    _ => hosts.answers(target.address),
                };
                let took = if answers == Answers::Hangs { timeout } else { Duration::from_millis(2) };
                sleep(took).await;
                hosts.found(
                    Found { probe, target, timeout, success: true, at: Instant::now() },
                    answers,
                    took,
                )
            })
        })
    }

    fn found(&self, mut found: Found, answers: Answers, took: Duration) -> ProbeOutcome {
        let mut inner = self.inner();
        found.success = match answers {
            Answers::Well => true,
            Answers::Refuses | Answers::Hangs => false,
            Answers::Flaps => {
                let flaps = inner.flaps.entry(found.target.address).or_default();
                *flaps += 1;
                flaps.is_multiple_of(2)
            }
        };
        let verdict = if found.success { ProbeResult::Success } else { ProbeResult::Failure };
        inner.found.push(found);
        ProbeOutcome { verdict, detail: "asked in a history".to_owned(), took }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nobody panics with it")
    }
}
