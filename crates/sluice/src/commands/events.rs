//! `sluice events`: what happened lately.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sluice_api::{Client, Event, Status};
use sluiced::fatal::Fatal;
use tokio::time::sleep;

use crate::options::Common;
use crate::signals::Signals;
use crate::status_text::happened;
use crate::{daemon, output};

/// Time between two looks with --follow.
const PAUSE: Duration = Duration::from_secs(1);

/// Show recent events: changes of health, reloads, overrides, and changes by others
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EventsCommand {
    /// Go on and print events as they happen, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Print them as JSON, one object per line
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice events
  sluice events --follow
  sluice events --json | jq -r 'select(.severity == \"error\") | .text'

The daemon keeps the latest events in memory; its log has all of them. Times are in UTC. --follow continues when the \
daemon restarts.

JSON: one event per line, as in `sluice status`; docs/cli-json.md has all keys.";

impl EventsCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let (client, colour) = (Client::new(&common.socket()?), common.colour());
        daemon::run(async {
            let (mut signals, mut seen) = (Signals::new(), None::<Vec<Event>>);
            let mut is_away = false;
            loop {
                let status = tokio::select! {
                    status = client.status() => status,
                    () = signals.ended() => return Ok(()),
                };
                match status {
                    Ok(status) => {
                        let events = new(&status, seen.as_deref().unwrap_or_default());
                        if !self.print(events, colour)? || !self.follow {
                            return Ok(());
                        }
                        (seen, is_away) = (Some(status.events), false);
                    }
                    // It may be restarting.
                    Err(error) if seen.is_some() => {
                        if !is_away {
                            output::print_error(&format!("sluice: events: {error} (trying again)"));
                        }
                        is_away = true;
                    }
                    Err(error) => return Err(daemon::no_answer(error)),
                }
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = signals.ended() => return Ok(()),
                }
            }
        })??;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns whether anybody still reads.
    fn print(&self, events: &[Event], colour: bool) -> Result<bool, Fatal> {
        let mut reads = true;
        for event in events {
            reads = match self.json {
                true => output::print_json_line(event)?,
                false => {
                    let (at, text) = (event.at, happened(event, colour));
                    output::print_on(&format!("{at}  {text}\n"))?
                }
            };
        }
        Ok(reads)
    }
}

/// Events after the last one that was seen. What is not there any more is behind all that are.
fn new<'a>(status: &'a Status, seen: &[Event]) -> &'a [Event] {
    let last = seen.last().and_then(|last| status.events.iter().rposition(|event| event == last));
    &status.events[last.map_or(0, |last| last + 1)..]
}

#[cfg(test)]
mod tests {
    use sluice_api::{EventKind, Severity};

    use super::*;
    use crate::status_text::tests::{at, status};

    #[test]
    fn events_that_were_seen_are_not_told_again() {
        let event = |text: &str| Event {
            at: at("2025-01-05T00:00:00Z"),
            kind: EventKind::Health,
            severity: Severity::Info,
            service: None,
            backend: None,
            text: text.to_owned(),
        };
        let events = ["started", "healthy", "unhealthy"].map(event);
        let now = Status { events: events.to_vec(), ..status() };
        assert_eq!(new(&now, &[]), events);
        assert_eq!(new(&now, &events[..1]), &events[1..]);
        assert_eq!(new(&now, &events), []);
        assert_eq!(new(&now, &[event("long ago")]), events, "the last one seen is gone");
    }
}
