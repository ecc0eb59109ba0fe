//! Messages to the service manager (sd_notify(3)).

use std::fmt;

use sd_notify::NotifyState;
use tracing::debug;

/// Where messages go.
pub struct Notify {
    send: Box<Send>,
    /// What is shown, so that a manager that is slow to read is not told the same again and again, and waited for.
    shown: String,
}

type Send = dyn FnMut(&[NotifyState<'_>]);

impl Notify {
    /// To systemd, or nowhere when it did not start us.
    pub fn systemd() -> Self {
        Notify::to(|states| {
            if let Err(error) = sd_notify::notify(states) {
                debug!("notify the service manager: {error}");
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
        // Without the time, `Type=notify-reload` would not know which reload this is.
        states.extend(NotifyState::monotonic_usec_now().ok());
        (self.send)(&states);
    }

    /// What `systemctl status` shows.
    pub(crate) fn status(&mut self, status: &str) {
        if self.shown != status {
            status.clone_into(&mut self.shown);
            (self.send)(&[NotifyState::Status(status)]);
        }
    }

    /// Still alive.
    pub(crate) fn watchdog(&mut self) {
        (self.send)(&[NotifyState::Watchdog]);
    }

    /// The end has begun.
    pub(crate) fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping]);
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notify")
    }
}
