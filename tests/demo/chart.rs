//! Bars of text.

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::Duration;

use sluice_testkit::Shares;

/// Columns of the longest bar.
const WIDTH: u32 = 50;
/// Time for one request on a terminal: slow enough to watch.
const PACE: Duration = Duration::from_millis(4);

/// One bar a backend, drawn over and over on a terminal, once elsewhere.
pub(crate) struct Chart<'a> {
    names: &'a [&'a str],
    total: u32,
    drawn: bool,
}

impl<'a> Chart<'a> {
    pub(crate) fn new(names: &'a [&'a str], total: u32) -> Self {
        Chart { names, total, drawn: false }
    }

    /// Draws what there is so far, on a terminal.
    pub(crate) fn draw(&mut self, shares: &Shares) {
        if stdout().is_terminal() {
            sleep(PACE);
            self.print(shares);
        }
    }

    /// Draws the end.
    pub(crate) fn finish(mut self, shares: &Shares) {
        self.print(shares);
    }

    fn print(&mut self, shares: &Shares) {
        if self.drawn {
            print!("\x1b[{}A", self.names.len());
        }
        self.drawn = true;
        for name in self.names {
            let count = shares.0.get(*name).copied().unwrap_or_default();
            let filled = count * WIDTH / self.total;
            let bar = format!(
                "{}{}",
                colour("32", &"#".repeat(filled as usize)),
                ".".repeat((WIDTH - filled) as usize)
            );
            println!(
                "    {name} {bar} {count:>4}  {:>5.1} %",
                100.0 * f64::from(count) / f64::from(self.total)
            );
        }
    }
}

/// Bold on a terminal.
pub(crate) fn bold(text: &str) -> String {
    colour("1", text)
}

/// Text in a rendition of ECMA-48 on a terminal, as it is elsewhere.
fn colour(rendition: &str, text: &str) -> String {
    if stdout().is_terminal() { format!("\x1b[{rendition}m{text}\x1b[0m") } else { text.to_owned() }
}
