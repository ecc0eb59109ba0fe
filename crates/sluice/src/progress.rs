//! A progress line on standard error: the operation and its elapsed time.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{output, text};

/// Delay before the line is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// An operation that may take long. Shows a line on a terminal after half a second, until it is dropped.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// `reload: waiting for sluiced`.
    pub(crate) fn of(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Progress(None);
        }
        let (what, began) = (what.to_owned(), Instant::now());
        let (end, ended) = channel();
        let show = move || {
            let mut due = PATIENCE;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(due.saturating_sub(began.elapsed()))
            {
                let width = output::size().0.saturating_sub(1);
                output::progress(Some(&text::clip(&line(&what, began.elapsed()), width.into())));
                due = Duration::from_secs(began.elapsed().as_secs() + 1);
            }
            output::progress(None);
        };
        Progress(Some((end, thread::spawn(show))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, shows)) = self.0.take() {
            drop(end);
            // It only writes: should that have failed, there is nothing to erase.
            let _ = shows.join();
        }
    }
}

fn line(what: &str, elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0 => what.to_owned(),
        seconds => format!("{what}, {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_progress_counts_whole_seconds() {
        assert_eq!(line("reload: waiting for sluiced", PATIENCE), "reload: waiting for sluiced");
        let later = Duration::from_millis(3999);
        assert_eq!(line("reload: waiting for sluiced", later), "reload: waiting for sluiced, 3 s");
    }
}
