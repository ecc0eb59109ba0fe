//! Messages to the service manager (sd_notify(3)).

use std::env;
use std::fmt;
use std::sync::mpsc::{Receiver, sync_channel};

use sd_notify::NotifyState;
use tracing::{debug, warn};

use crate::host::threads;

/// Maximum number of messages that wait for the manager. Further ones are lost.
const WAITING: usize = 256;

/// Sends messages to the service manager.
pub struct Notify {
    send: Box<Send>,
    /// The last status text, so that the same text is not sent again: a manager that reads slowly would block us.
    shown: String,
}

type Send = dyn FnMut(&[NotifyState<'_>]);

impl Notify {
    /// To systemd; to nowhere if systemd did not start the daemon. A thread sends the messages, because a manager that is
    /// stuck blocks the sender.
    pub fn systemd() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Notify::to(|_| {});
        }
        let (messages, waiting) = sync_channel(WAITING);
        if let Err(error) = threads::start("notify", move || pass_on(&waiting)) {
            warn!("start a thread: {error} (the service manager is not notified)");
        }
        Notify::to(move |states| {
            let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
            if messages.try_send(lines.join("\n")).is_err() {
                debug!("notify the service manager: it is stuck");
            }
        })
    }

    /// To a function.
    pub fn to(send: impl FnMut(&[NotifyState<'_>]) + 'static) -> Self {
        Notify { send: Box::new(send), shown: String::new() }
    }

    /// The start is complete.
    pub(crate) fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.shown);
        (self.send)(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`Notify::ready`] ends it.
    pub(crate) fn reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading];
        // `Type=notify-reload` identifies the reload by this time.
        states.extend(NotifyState::monotonic_usec_now().ok());
        (self.send)(&states);
    }

    /// The text in `systemctl status`.
    pub(crate) fn status(&mut self, status: &str) {
        if self.shown != status {
            status.clone_into(&mut self.shown);
            (self.send)(&[NotifyState::Status(status)]);
        }
    }

    /// Feeds the watchdog.
    pub(crate) fn watchdog(&mut self) {
        (self.send)(&[NotifyState::Watchdog]);
    }

    /// The stop begins.
    pub(crate) fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping]);
    }
}

/// Sends messages until the daemon ends.
fn pass_on(messages: &Receiver<String>) {
    for message in messages {
        if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
            debug!("notify the service manager: {error}");
        }
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notify")
    }
}
