//! How often histories reached what they are for: a law that mostly has nothing to say proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::event::{Edit, Event};

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
            Event::Host(_, answers) => self.count(format!("event: host {answers:?}")),
            _ => self.count(format!("event: {name}")),
        }
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
