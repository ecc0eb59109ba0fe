//! Configures the log.

mod lossy;

use std::io::{self, IsTerminal};
use std::os::unix::net::UnixDatagram;

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::lossy::{Lossy, lost};
use crate::args::{Args, LogFormat};

/// The socket of journald (systemd-journald.service(8)).
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Writes the log to standard error, or directly to the journal if standard error is connected to it,
/// with severity and fields and without a second time stamp. Lines that would block are lost and counted.
pub fn init(args: &Args) {
    let stderr = || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let layer = match args.log_format {
        LogFormat::Json => Lossy::new(stderr().json(), io::stderr()).boxed(),
        LogFormat::Text => match journal() {
            Some(layer) => layer.boxed(),
            None => Lossy::new(stderr().with_ansi(io::stderr().is_terminal()), io::stderr()).boxed(),
        },
    };
    tracing_subscriber::registry().with(layer.with_filter(LevelFilter::from_level(args.log_level))).init();
}

/// The journal, if `JOURNAL_STREAM` (systemd.exec(5)) identifies the file of standard error.
fn journal() -> Option<Lossy<tracing_journald::Layer, UnixDatagram>> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(io::stderr()).ok()?;
    if stream != format!("{}:{}", stderr.st_dev, stderr.st_ino) {
        return None;
    }
    // The layer has a socket of its own. A connected one tells whether the queue of journald is full.
    let queue = UnixDatagram::unbound().and_then(|socket| socket.connect(JOURNALD).map(|()| socket)).ok()?;
    Some(Lossy::new(tracing_journald::layer().ok()?, queue))
}
