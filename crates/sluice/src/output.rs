//! Standard output and standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use sluiced::fatal::{Exit, Fatal};

/// Prints to standard output. A reader that went away (`sluice status | head`) has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Fatal> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fatal::new(Exit::Runtime, Unwritten(error), "is the disk full?"))
        }
        _ => Ok(()),
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

/// Prints lines to standard error; if nobody reads that, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether to colour standard output: on a terminal, unless NO_COLOR is set (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows on standard error what the daemon's code would log and a person at a terminal should know.
pub(crate) fn log() {
    tracing_subscriber::fmt()
        .with_env_filter("warn,sluiced::forwarding=info")
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .init();
}
