//! Looks every second, until Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{execute, queue};
use sluice_api::{Client, Status, Timestamp};
use sluiced::fatal::Fatal;
use tokio::time::sleep;

use super::{Watch, pause};
use crate::signals::Signals;
use crate::{daemon, output};

/// What to do with the state that each look tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Redraw the terminal.
    Screen,
    /// Print it, and a blank line.
    Blocks,
    /// Print an object a line.
    Json,
}

impl Form {
    /// What standard output takes.
    pub(crate) fn of(json: bool) -> Self {
        match json {
            true => Form::Json,
            false if io::stdout().is_terminal() => Form::Screen,
            false => Form::Blocks,
        }
    }
}

/// Shows the part of each answer that `choose` selects, until a signal or a closed output ends it.
pub(crate) fn run(
    client: &Client,
    form: Form,
    colour: bool,
    choose: impl Fn(Status) -> Result<Status, Fatal>,
) -> Result<(), Fatal> {
    let screen = (form == Form::Screen).then(Screen::enter);
    let outcome = daemon::run(async {
        let mut signals = Signals::new();
        let mut watch = Watch::default();
        loop {
            let began = Instant::now();
            let answer = tokio::select! {
                answer = client.status() => answer.map_err(daemon::no_answer).and_then(&choose),
                () = signals.ended() => return Ok(()),
            };
            watch.look(answer.map_err(|error| error.to_string()), Timestamp::now(), Instant::now());
            if !show(&mut watch, form, colour)? {
                return Ok(());
            }
            tokio::select! {
                () = sleep(pause(began.elapsed())) => {}
                () = signals.ended() => return Ok(()),
            }
        }
    });
    drop(screen);
    outcome?
}

/// Shows what is known; tells whether anybody still reads. An error that is no part of the output is told on standard
/// error.
fn show(watch: &mut Watch, form: Form, colour: bool) -> Result<bool, Fatal> {
    let now = Timestamp::now();
    if form == Form::Screen {
        return Ok(Screen::draw(&watch.screen(now, colour, output::size())).is_ok());
    }
    if let Some(error) = watch.complaint() {
        output::print_error(&format!("sluice: {error}"));
    }
    match (watch.status(), form) {
        (None, _) => Ok(true),
        (Some(status), Form::Json) => output::print_json_line(status),
        (Some(_), _) => output::print_on(&(watch.text(now, colour).unwrap_or_default() + "\n")),
    }
}

/// The terminal's other screen; what was on it comes back when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Self {
        // Where it cannot be written to, drawing tells.
        let _ = execute!(io::stdout(), EnterAlternateScreen, Hide);
        Screen
    }

    /// Replaces line by line what was drawn before, without a blank screen in between.
    fn draw(lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (row, line) in (0..).zip(lines) {
            // Cleared first: behind a line that fills the row, it would take the last letter along.
            queue!(out, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
            write!(out, "{line}")?;
        }
        if let Ok(below) = u16::try_from(lines.len()).map(|rows| MoveTo(0, rows))
            && lines.len() < output::size().1.into()
        {
            queue!(out, below, Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    }
}
