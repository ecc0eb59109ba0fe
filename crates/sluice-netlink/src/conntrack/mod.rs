//! Conntrack entries: dumping, deleting and resetting flows, and events about destroyed flows.
//!
//! A socket works on the network namespace of the thread that opened it.

mod challenge;
mod destroy_events;
mod flow;
mod state;
pub(crate) mod wire;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use sluice_nft::{Ip, Protocol};

use self::challenge::ChallengeSender;
pub use self::destroy_events::DestroyEvents;
pub use self::flow::{Bytes, Flow};
pub use self::state::{ConnectionState, SctpState, TcpState};
pub use crate::socket::Received;
use crate::socket::Socket;

/// Conntrack over netlink.
pub struct Conntrack {
    socket: Socket,
}

/// Selects the flows that match all given fields. The kernel compares IP version, protocol, IPv4 addresses, ports, and
/// whether the destination was translated (5.19), so that it dumps few other flows. IPv6 addresses, and
/// ports without a protocol, are compared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IP version.
    pub ip: Ip,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Original destination address.
    pub to: Option<IpAddr>,
    /// Original destination port.
    pub to_port: Option<u16>,
    /// Source address of replies.
    pub backend: Option<IpAddr>,
    /// Source port of replies.
    pub backend_port: Option<u16>,
    /// Only flows whose destination was translated.
    pub translated: bool,
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

    /// Calls `f` with each selected flow. A flow that begins or moves during the dump may be missed or come twice.
    ///
    /// # Errors
    /// Of the system calls; `f` may have seen some flows. After `EINTR` and `ENOBUFS` a caller should retry.
    pub fn each(&mut self, filter: &Filter, mut f: impl FnMut(Flow)) -> io::Result<()> {
        let dumped = self.socket.ask(wire::dump(filter), |answer| {
            if let Some(flow) = Flow::parse(answer).filter(|flow| filter.fits(flow)) {
                f(flow);
            }
        });
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

impl Filter {
    /// All flows of an IP version.
    pub fn all(ip: Ip) -> Self {
        Filter {
            ip,
            protocol: None,
            to: None,
            to_port: None,
            backend: None,
            backend_port: None,
            translated: false,
        }
    }

    /// Whether a flow matches.
    pub fn fits(&self, flow: &Flow) -> bool {
        fn is<T: PartialEq>(expected: Option<T>, found: T) -> bool {
            expected.is_none_or(|expected| expected == found)
        }
        self.ip == Ip::of(flow.to.ip())
            && is(self.protocol, flow.protocol)
            && is(self.to, flow.to.ip())
            && is(self.to_port, flow.to.port())
            && is(self.backend, flow.backend.ip())
            && is(self.backend_port, flow.backend.port())
            && (!self.translated || flow.is_translated())
    }
}
