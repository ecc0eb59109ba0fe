//! Counts how often histories reach each event and each branch of an oracle: a law that is mostly vacuous proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::event::{Edit, Event};

/// Fewer histories need not reach anything.
const MANY: usize = 1000;

/// Each thing of [`DEMANDED`] happens in one of so many histories at least.
const RARE: usize = 400;

/// What histories have to reach.
const DEMANDED: [&str; 137] = [
    "addresses: announced",
    "addresses: of a node that has left",
    "addresses: of a service that is not ready",
    "addresses: of a service, put there by others",
    "answers: in the name of the listener",
    "answers: the same between batches",
    "daemon killed at a commit, or refused a start by a fault",
    "event: BadFile",
    "event: Flows",
    "event: ForwardingOff",
    "event: Join",
    "event: Leave",
    "event: Load",
    "event: Networks",
    "event: Pass",
    "event: PutAddress",
    "event: ReadsFail",
    "event: RemoveAddress",
    "event: commit fails after Busy",
    "event: commit fails after FullTable",
    "event: commit fails after NoBuffers",
    "event: commit fails after NoMemory",
    "event: commit fails after NotPermitted",
    "event: commit fails after Restart",
    "event: commit fails before Busy",
    "event: commit fails before FullTable",
    "event: commit fails before NoBuffers",
    "event: commit fails before NoMemory",
    "event: commit fails before NotPermitted",
    "event: commit fails before Restart",
    "event: foreign AddRule",
    "event: foreign DeleteChainRules",
    "event: foreign DeleteElement",
    "event: foreign DeleteTable",
    "event: foreign FlushChain",
    "event: foreign RepointElement",
    "event: host Flaps",
    "event: host Hangs",
    "event: host Refuses",
    "event: host Well",
    "event: operator Disable",
    "event: operator Drain",
    "event: operator Enable",
    "event: operator FileWeight",
    "event: operator Weight",
    "event: reload Add",
    "event: reload AddBackend",
    "event: reload Affinity",
    "event: reload Allow",
    "event: reload Announce",
    "event: reload BackendAddress",
    "event: reload BackendName",
    "event: reload BackendPort",
    "event: reload Backup",
    "event: reload Check",
    "event: reload Deny",
    "event: reload Enabled",
    "event: reload Fill",
    "event: reload Hooks",
    "event: reload Include",
    "event: reload Interface",
    "event: reload Keep",
    "event: reload Limit",
    "event: reload Listen",
    "event: reload Move",
    "event: reload OnEmpty",
    "event: reload Quorum",
    "event: reload Refresh",
    "event: reload Remove",
    "event: reload RemoveBackend",
    "event: reload Rename",
    "event: reload Resets",
    "event: reload ResetsDenied",
    "event: reload Scheduler",
    "event: reload SlowStart",
    "event: reload Source",
    "event: reload StartsDown",
    "event: reload Swap",
    "event: reload SwapBackends",
    "event: reload Weight",
    "event: reload Whole",
    "event: restart HandOver",
    "event: restart Kill",
    "event: restart KillAtCommit",
    "event: restart Stop",
    "event: state directory Full",
    "event: state directory Gone",
    "event: state directory Slow",
    "event: state directory Well",
    "explain: dropped by the guard",
    "explain: goes to the pool",
    "explain: no backend",
    "figures: as status",
    "figures: as the kernel",
    "flows: deleted",
    "flows: had to go",
    "flows: reset because the client is refused",
    "flows: reset",
    "foreign edit made",
    "forwarding was off",
    "forwarding was switched on again",
    "load changed",
    "oracles: all was quiet",
    "oracles: something was under way",
    "overrides are there although health may not be",
    "packets: dropped, no backend",
    "packets: met something else after an event",
    "packets: met the pool",
    "packets: nobody could take them between batches",
    "packets: refused by the guard",
    "packets: rejected, no backend",
    "packets: translated between batches",
    "plan: nothing to do",
    "plan: says what a reload does",
    "quiet refresh",
    "ready: backups serve",
    "ready: disabled",
    "ready: met with fewer than it took",
    "ready: not met again yet",
    "ready: quorum lost",
    "ready: quorum met",
    "ready: the node has left",
    "reload failed by a fault",
    "reload refused for the file",
    "shares: a step of a ramp is due",
    "shares: least-connections by weight alone",
    "shares: least-connections gives more to who lacks some",
    "shares: of a ramp",
    "status: backups serve",
    "status: eligible without a share, for a reason",
    "status: empty pool",
    "status: full",
    "status: unhealthy backend",
    "stopped, table kept",
    "stopped, table removed",
    "table: serves otherwise than the file says",
    "table: shares depend on the moment",
];

/// Counts of one history, or of many.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    pub histories: usize,
    /// How often, and in how many histories.
    counts: BTreeMap<String, (usize, usize)>,
    now: BTreeSet<String>,
}

impl Reach {
    /// Something was reached.
    pub fn hit(&mut self, what: &str) {
        self.count(what.to_owned());
    }

    /// Whether something was reached.
    pub fn has(&self, what: &str) -> bool {
        self.counts.contains_key(what)
    }

    /// An event takes place.
    pub fn event(&mut self, event: &Event) {
        let word = |text: String| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let name = word(format!("{event:?}"));
        match event {
            Event::Reload(edits) => {
                for edit in edits {
                    let edit = match edit {
                        Edit::Of(_, key) => word(format!("{key:?}")),
                        other => word(format!("{other:?}")),
                    };
                    self.count(format!("event: reload {edit}"));
                }
            }
            Event::Restart(end, _) => self.count(format!("event: restart {}", word(format!("{end:?}")))),
            Event::Operator(.., verb) => self.count(format!("event: operator {}", word(format!("{verb:?}")))),
            Event::Foreign(edit) => self.count(format!("event: foreign {}", word(format!("{edit:?}")))),
            Event::CommitFails(_, failure, after) => {
                let when = if *after { "after" } else { "before" };
                self.count(format!("event: commit fails {when} {failure:?}"));
            }
            Event::StateDir(disk) => self.count(format!("event: state directory {disk:?}")),
            Event::Host(_, answers) => self.count(format!("event: host {answers:?}")),
            _ => self.count(format!("event: {name}")),
        }
    }

    /// What too few histories reached.
    pub fn rare(&self) -> Vec<String> {
        if self.histories < MANY {
            return vec![];
        }
        let least = self.histories / RARE;
        let count = |what: &str| self.counts.get(what).map_or(0, |(_, histories)| *histories);
        let rare = DEMANDED.iter().map(|what| (what, count(what))).filter(|(_, count)| *count < least);
        rare.map(|(what, count)| format!("{what}: in {count} histories, not {least}")).collect()
    }

    /// A history is over.
    pub fn close(&mut self) {
        self.histories += 1;
        for what in std::mem::take(&mut self.now) {
            self.counts.entry(what).or_default().1 += 1;
        }
    }

    /// What others reached is reached, too.
    pub fn add(&mut self, other: &Reach) {
        self.histories += other.histories;
        for (what, (times, histories)) in &other.counts {
            let count = self.counts.entry(what.clone()).or_default();
            *count = (count.0 + times, count.1 + histories);
        }
    }

    fn count(&mut self, what: String) {
        self.counts.entry(what.clone()).or_default().0 += 1;
        self.now.insert(what);
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} histories; reached how often, and in how many of them:", self.histories)?;
        for (what, (times, histories)) in &self.counts {
            writeln!(f, "  {what:<60} {times:>8} {histories:>7}")?;
        }
        Ok(())
    }
}
