//! Standard output and standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ratatui::crossterm;
use serde::Serialize;
use sluiced::fatal::{Exit, Fatal};

/// Whether a line of progress stands at the end of standard error. Whoever writes to the terminal erases it first.
static PROGRESS: Mutex<bool> = Mutex::new(false);

/// Prints to standard output. A reader that went away (`sluice status | head`) has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Fatal> {
    print_on(text).map(drop)
}

/// The same, and tells whether anybody still reads.
pub(crate) fn print_on(text: &str) -> Result<bool, Fatal> {
    let _room = erase_progress();
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fatal::new(Exit::Runtime, Unwritten(error), "check whether the disk is full")),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("write standard output")]
struct Unwritten(#[source] io::Error);

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Fatal> {
    let json = serde_json::to_string_pretty(value).expect("keys are strings, so it is valid JSON");
    print(&(json + "\n"))
}

/// Prints a value as JSON on one line.
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<bool, Fatal> {
    let json = serde_json::to_string(value).expect("keys are strings, so it is valid JSON");
    print_on(&(json + "\n"))
}

/// Prints lines to standard error; errors of writing are ignored.
pub(crate) fn print_error(text: &str) {
    let _ = StandardError.write_all(format!("{text}\n").as_bytes());
}

/// Shows a line of progress in place of the one before, or none.
pub(crate) fn progress(line: Option<&str>) {
    let mut is_shown = erase_progress();
    if let Some(line) = line {
        *is_shown = write!(io::stderr(), "{line}").is_ok();
    }
}

/// Makes room on standard error for as long as the guard lives.
fn erase_progress() -> MutexGuard<'static, bool> {
    let mut is_shown = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::take(&mut *is_shown) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    is_shown
}

/// Standard error without a line of progress in the way.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _room = erase_progress();
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether standard output takes colours: it is a terminal, and NO_COLOR is not set (<https://no-color.org>).
pub(crate) fn takes_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows on standard error what the daemon's code would log and a person at a terminal should know.
pub(crate) fn log() {
    tracing_subscriber::fmt()
        .with_env_filter("warn,sluiced::reconcile::forwarding=info")
        .with_writer(|| StandardError)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .init();
}

/// Columns and rows of the terminal; 80 and 24 if they are unknown.
pub(crate) fn size() -> (u16, u16) {
    crossterm::terminal::size().unwrap_or((80, 24))
}
