//! Conntrack entries: dumping, deleting and resetting flows, and events about destroyed flows.
//!
//! A socket works on the network namespace of the thread that opened it.

mod challenge;
mod destroy_events;
mod flow;
mod state;
pub(crate) mod wire;

use std::io;
use std::time::Duration;

use self::challenge::ChallengeSender;
pub use self::destroy_events::DestroyEvents;
pub use self::flow::{Bytes, Flow};
pub use self::state::{ConnectionState, SctpState, TcpState};
pub use crate::socket::Received;
use crate::socket::Socket;
use nix::errno::Errno;

/// Conntrack over netlink.
pub struct Conntrack {
    socket: Socket,
}

/// The result of [`Conntrack::reset`].
#[derive(Debug, Default)]
pub struct Reset {
    /// Number of flows that now have a fixed timeout.
    pub ended: usize,
    /// The first error of sending challenges: both ends then notice the reset only when they next send.
    pub challenge_error: Option<io::Error>,
}

impl Conntrack {
    /// Opens a socket.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        Ok(Conntrack { socket: Socket::open()? })
    }

    /// Calls `f` with each flow of a protocol that listeners can have. A flow that begins or moves during the dump may be missed
    /// or come twice.
    ///
    /// The kernel does not filter: it would walk over all flows that do not match in one system call, during which most kernels
    /// run no other thread on that processor. With 236,000 entries this takes 60 ms.
    ///
    /// # Errors
    /// Of the system calls; `f` may have seen some flows. After `EINTR` and `ENOBUFS` a caller should retry.
    pub fn each(&mut self, mut f: impl FnMut(Flow)) -> io::Result<()> {
        let dumped = self.socket.ask(wire::dump(), |answer| Flow::parse(answer).into_iter().for_each(&mut f));
        Ok(dumped.map(drop)?)
    }

    /// Deletes flows, and returns the number of those that still existed.
    ///
    /// # Errors
    /// The first one, after all were tried.
    pub fn delete(&mut self, flows: &[Flow]) -> io::Result<usize> {
        self.tell(flows, &[Errno::ENOENT], wire::delete)
    }

    /// Resets established TCP flows: sets their status `IPS_FIXED_TIMEOUT` and a timeout of `linger`, in whole seconds. A rule
    /// that matches this status answers each of their packets with a reset. Both ends are sent a packet, as if from the other
    /// end, that they must answer (RFC 5961, 4.2), so that silent ends also get a reset.
    ///
    /// # Errors
    /// The first one, after all were tried. Errors of sending challenges are in [`Reset::challenge_error`].
    pub fn reset(&mut self, flows: &[Flow], linger: Duration) -> io::Result<Reset> {
        let seconds = linger.as_secs().clamp(1, 3600) as u32;
        let told = self.tell(flows, &[Errno::ENOENT, Errno::EPERM], |flow| wire::end(flow, seconds));
        let challenged = ChallengeSender::open(flows).and_then(|sender| sender.send_challenges(flows));
        Ok(Reset { ended: told?, challenge_error: challenged.err() })
    }

    /// Sends a message for each flow, and returns how many succeeded. Errors in `fine` are ignored: the flow no longer
    /// exists, or has a fixed timeout already.
    fn tell(
        &mut self,
        flows: &[Flow],
        fine: &[Errno],
        message: impl Fn(&Flow) -> Vec<u8>,
    ) -> io::Result<usize> {
        let (mut taken, mut failed) = (0, None);
        for flow in flows {
            match self.socket.ask(message(flow), |_| {}) {
                Ok(_) => taken += 1,
                Err(errno) if fine.contains(&errno) => {}
                Err(errno) => failed = failed.or(Some(errno)),
            }
        }
        failed.map_or(Ok(taken), |errno| Err(errno.into()))
    }
}
