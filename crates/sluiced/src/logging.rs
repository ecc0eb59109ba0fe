//! Where log events go.

use std::io;

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Args, LogFormat};

/// Sends log events to standard error, or straight to the journal when that is what standard error
/// is: systemd then gets severity and fields, and no second time stamp.
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

/// The journal, if `JOURNAL_STREAM` (systemd.exec(5)) names the file behind standard error.
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(io::stderr()).ok()?;
    if stream != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
        return None;
    }
    tracing_journald::layer().ok()
}
