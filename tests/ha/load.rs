//! What clients notice, as a row of a table.

use std::io::Write;
use std::time::Duration;

use sluice_testkit::{Answered, Connected, Connects, Datagrams, Host, Talk, Talked, eventually};

/// Pause of established connections, new connections and datagrams.
const PACES: [Duration; 3] = [Duration::from_millis(30), Duration::from_millis(10), Duration::from_millis(5)];

/// Clients of a service, of three kinds.
pub(crate) struct Load {
    talk: Talk,
    connects: Connects,
    datagrams: Datagrams,
}

/// What they noticed.
pub(crate) struct Noticed {
    pub(crate) talked: Talked,
    pub(crate) connected: Connected,
    pub(crate) answered: Answered,
}

impl Load {
    /// This many established connections, one new one at a time, and one flow of datagrams.
    pub(crate) fn start(client: &Host, established: usize, to: &str) -> Self {
        let load = Load {
            talk: client.talk(established, PACES[0], to),
            connects: client.connect_steadily(PACES[1], to),
            datagrams: client.send_steadily(PACES[2], to),
        };
        load.go_on();
        load
    }

    /// Waits until new connections and datagrams have been answered for a while.
    pub(crate) fn go_on(&self) {
        let (greetings, answers) = (self.connects.greetings() + 50, self.datagrams.answers() + 100);
        eventually("new connections and datagrams are answered", || {
            (self.connects.greetings() >= greetings && self.datagrams.answers() >= answers).then_some(())
        });
    }

    /// Lets it go on, stops it, prints a row and returns what is in it.
    pub(crate) fn finish(self, scenario: &str) -> Noticed {
        self.go_on();
        let connected = self.connects.finish();
        let (answered, talked) = (self.datagrams.finish(), self.talk.finish());
        let established = talked.alive + talked.reset + talked.lost;
        row(&[
            scenario,
            &format!("{} of {}", connected.failed.len(), connected.attempts),
            &format!("{} ({} ms)", connected.delayed, connected.longest.as_millis()),
            &format!("{} of {established}", talked.alive),
            &format!("{}, {}", talked.reset, talked.lost),
            &format!("{} ms", talked.gap.as_millis()),
            &format!("{} of {}", answered.lost, answered.sent),
            &format!("{} ms", answered.gap.as_millis()),
        ]);
        Noticed { talked, connected, answered }
    }
}

/// Prints a row of a table, also when output is captured.
pub(crate) fn row(columns: &[&str]) {
    let _ = writeln!(std::io::stdout(), "| {} |", columns.join(" | "));
}
