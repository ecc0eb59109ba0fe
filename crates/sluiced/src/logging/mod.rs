//! Configures the log.

use std::io;

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Args, LogFormat};

/// Writes the log to standard error, or directly to the journal if standard error is connected to it,
/// with severity and fields and without a second time stamp.
pub fn init(args: &Args) {
    let stderr = || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match args.log_format {
        LogFormat::Json => stderr().json().boxed(),
        LogFormat::Text => match journal() {
            Some(layer) => layer.boxed(),
            None => stderr().with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        },
    };
    tracing_subscriber::registry().with(layer.with_filter(LevelFilter::from_level(args.log_level))).init();
}

/// The journal, if `JOURNAL_STREAM` (systemd.exec(5)) identifies the file of standard error.
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(io::stderr()).ok()?;
    if stream != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
        return None;
    }
    tracing_journald::layer().ok()
}
