//! [`Lossy`]: a layer that loses events instead of waiting for a log that nobody reads.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Number of lost events of this process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Number of log lines that were lost because the log did not take them.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Passes events to a layer only if its output would not block.
///
/// A stalled journald or a full pipe must not keep the daemon from its work.
pub struct Lossy<L, O> {
    layer: L,
    output: O,
    /// Other threads must not fill the output between poll and write.
    turn: Mutex<()>,
}

impl<L, O: AsFd> Lossy<L, O> {
    /// `output` is ready for writing while the output of `layer` is.
    pub fn new(layer: L, output: O) -> Self {
        Lossy { layer, output, turn: Mutex::new(()) }
    }

    fn would_block(&self) -> bool {
        let mut output = [PollFd::new(self.output.as_fd(), PollFlags::POLLOUT)];
        // An output with an error does not block either.
        matches!(poll(&mut output, PollTimeout::ZERO), Ok(0))
    }
}

impl<S: Subscriber, L: Layer<S>, O: AsFd + 'static> Layer<S> for Lossy<L, O> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.layer.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.layer.on_new_span(attributes, id, context);
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.layer.on_record(span, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.would_block() {
            LOST.fetch_add(1, Ordering::Relaxed);
        } else {
            self.layer.on_event(event, context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.layer.on_close(id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn event_for_an_output_that_nobody_reads_is_lost_and_counted() {
        let (mut output, mut reader) = UnixStream::pair().unwrap();
        let layer = fmt::layer().with_writer(Mutex::new(output.try_clone().unwrap()));
        let subscriber = tracing_subscriber::registry().with(Lossy::new(layer, output.try_clone().unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first");
            output.set_nonblocking(true).unwrap();
            while output.write(&[b'.'; 4096]).is_ok() {}
            output.set_nonblocking(false).unwrap();
            let before = lost();
            tracing::info!("second");
            assert_eq!(lost() - before, 1);
            let mut text = vec![0; 1 << 20];
            reader.set_nonblocking(true).unwrap();
            let mut read = String::new();
            while let Ok(length @ 1..) = reader.read(&mut text) {
                read += std::str::from_utf8(&text[..length]).unwrap();
            }
            tracing::info!("third");
            let length = reader.read(&mut text).unwrap();
            read += std::str::from_utf8(&text[..length]).unwrap();
            assert!(read.contains("first") && !read.contains("second") && read.contains("third"), "{read}");
        });
    }
}
