//! Converts Unix signals to requests.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::request::Request;

/// Caught signals; once it exists, they no longer end the process.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    hand_over: Signal,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hand_over: signal(SignalKind::user_defined2())?,
        })
    }

    /// Sends requests for signals until the reconcile task ends.
    pub(crate) async fn pass_on(mut self, requests: mpsc::Sender<Request>) {
        loop {
            let (name, request) = tokio::select! {
                _ = self.hangup.recv() => ("SIGHUP", Request::Reload(None)),
                _ = self.terminate.recv() => ("SIGTERM", Request::Stop),
                _ = self.interrupt.recv() => ("SIGINT", Request::Stop),
                _ = self.hand_over.recv() => ("SIGUSR2", Request::HandOver),
            };
            info!("received {name}");
            if requests.send(request).await.is_err() {
                return;
            }
        }
    }
}
