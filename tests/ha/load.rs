//! What clients notice, as a row of a table.

use std::io::Write;
use std::time::Duration;

use sluice_testkit::{Connects, Datagrams, Host, Talk, eventually};

/// Pause of established connections, new connections and datagrams.
const PACES: [Duration; 3] = [Duration::from_millis(30), Duration::from_millis(10), Duration::from_millis(5)];

/// Clients of a service, of three kinds.
pub(crate) struct Load {
    talk: Talk,
    connects: Connects,
    datagrams: Datagrams,
}

/// Established connections.
const ESTABLISHED: usize = 50;

impl Load {
    /// Established connections, one new one at a time, and one flow of datagrams.
    pub(crate) fn start(client: &Host, to: &str) -> Self {
        let load = Load {
            talk: client.talk(ESTABLISHED, PACES[0], to),
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

    /// Lets it go on, stops it, prints a row, and checks that established connections and new ones survived.
    ///
    /// # Panics
    /// If one did not, or if the flow of datagrams changed its backend.
    #[track_caller]
    pub(crate) fn finish(self, scenario: &str) {
        self.go_on();
        let connected = self.connects.finish();
        let (answered, talked) = (self.datagrams.finish(), self.talk.finish());
        row(&[
            scenario,
            &format!("{} of {}", connected.failed.len(), connected.attempts),
            &format!("{} ({} ms)", connected.delayed, connected.longest.as_millis()),
            &format!("{} of {ESTABLISHED}", talked.alive),
            &format!("{}, {}", talked.reset, talked.lost),
            &format!("{} ms", talked.gap.as_millis()),
            &format!("{} of {}", answered.lost, answered.sent),
            &format!("{} ms", answered.gap.as_millis()),
        ]);
        assert_eq!(talked.alive, ESTABLISHED, "{talked:?}");
        assert_eq!(connected.failed, [] as [String; 0]);
        assert_eq!(answered.backends.len(), 1, "the flow of datagrams keeps its backend");
    }
}

/// Prints a row of a table, also when output is captured.
pub(crate) fn row(columns: &[&str]) {
    let _ = writeln!(std::io::stdout(), "| {} |", columns.join(" | "));
}
