//! Messages to the service manager (sd_notify(3)).

use std::fmt;

use sd_notify::NotifyState;
use tracing::debug;

/// Where messages go.
pub struct Notify(Box<Send>);

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
        Notify(Box::new(send))
    }

    /// The start is complete.
    pub(crate) fn ready(&mut self, status: &str) {
        (self.0)(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`Notify::ready`] ends it.
    pub(crate) fn reloading(&mut self) {
        let mut states = vec![NotifyState::Reloading];
        // Without the time, `Type=notify-reload` would not know which reload this is.
        states.extend(NotifyState::monotonic_usec_now().ok());
        (self.0)(&states);
    }

    /// What `systemctl status` shows.
    pub(crate) fn status(&mut self, status: &str) {
        (self.0)(&[NotifyState::Status(status)]);
    }

    /// Still alive.
    pub(crate) fn watchdog(&mut self) {
        (self.0)(&[NotifyState::Watchdog]);
    }

    /// The end has begun.
    pub(crate) fn stopping(&mut self) {
        (self.0)(&[NotifyState::Stopping]);
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notify")
    }
}
