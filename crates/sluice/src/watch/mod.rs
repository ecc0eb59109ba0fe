//! `sluice status --watch`: what each look shows (`Watch`), and the looking (`shell`).

pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sluice_api::{Status, Timestamp};

use crate::rates::Rates;
use crate::status_text::{Look, render_live};
use crate::text::{Paint, clip, since_when, wrap};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait after a look that took so long: the daemon is busy with us half of the time at most.
pub(crate) fn pause(took: Duration) -> Duration {
    INTERVAL.saturating_sub(took).max(took)
}

/// What is known from the looks so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    rates: Rates,
    last: Option<(Status, Timestamp)>,
    /// Why the last look told nothing, and what to do.
    error: Option<String>,
    /// What was said of that last.
    complained: Option<String>,
}

impl Watch {
    /// Notes what came of a look.
    pub(crate) fn look(&mut self, answer: Result<Status, String>, now: Timestamp, at: Instant) {
        match answer {
            Ok(status) => {
                self.rates.look(&status, at);
                self.last = Some((status, now));
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// What the last look told; `None`: nothing.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.last.as_ref().filter(|_| self.error.is_none()).map(|(status, _)| status)
    }

    /// Why that was nothing, unless it was said before.
    pub(crate) fn complaint(&mut self) -> Option<String> {
        let is_news = self.error != self.complained;
        self.complained.clone_from(&self.error);
        self.error.clone().filter(|_| is_news)
    }

    /// The state as text, as far as it is known.
    pub(crate) fn text(&self, now: Timestamp, colour: bool) -> Option<String> {
        self.text_of(now, colour, None)
    }

    fn text_of(&self, now: Timestamp, colour: bool, width: Option<usize>) -> Option<String> {
        let (status, _) = self.last.as_ref()?;
        Some(render_live(status, Look { now, colour, headers: true, rates: Some(&self.rates), width }))
    }

    /// The same for a terminal of so many columns and rows: a line each, none wider, and no more of them. An error
    /// stands above what was known before.
    pub(crate) fn screen(&self, now: Timestamp, colour: bool, (columns, rows): (u16, u16)) -> Vec<String> {
        let (columns, rows) = (usize::from(columns), usize::from(rows));
        let mut lines = vec![];
        if let Some(error) = &self.error {
            let told = wrap(&since_when(error, self.last.as_ref().map(|(_, at)| *at), now), columns);
            lines.extend(told.iter().map(|line| Paint::Bad.on(line, colour)));
            lines.push(String::new());
        }
        let text = self.text_of(now, colour, Some(columns)).unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
        let left = lines.len().saturating_sub(rows);
        if left > 0 {
            lines.truncate(rows.saturating_sub(1));
            let more = format!("... {} more lines: name a service, or use sluice top", left + 1);
            lines.push(Paint::Dim.on(&more, colour));
        }
        lines.iter().map(|line| clip(line, columns)).collect()
    }
}
