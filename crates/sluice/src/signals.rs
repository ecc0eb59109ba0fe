//! Signals that end what would go on for ever, so that it can put the terminal back.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a live view: Ctrl-C, SIGTERM, a terminal that is gone.
pub(crate) struct Signals(Vec<Signal>);

impl Signals {
    /// Catches them from now on.
    pub(crate) fn new() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        // One that cannot be caught ends us in its own way.
        Signals(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// Waits for the first.
    pub(crate) async fn ended(&mut self) {
        poll_fn(|context| {
            let has_come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
