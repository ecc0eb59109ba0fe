//! Flows that conntrack knows: finding, forgetting and ending them, and hearing of their end.
//!
//! Everything is about the network namespace of the thread that opened the socket.

mod endings;
mod flow;
mod poke;
pub(crate) mod wire;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use sluice_nft::{Ip, Protocol};

pub use self::endings::{Arrived, Endings};
pub use self::flow::{Bytes, Flow, TcpState};
use self::poke::Poker;
use crate::socket::Socket;

/// Conntrack over netlink.
pub struct Conntrack {
    socket: Socket,
}

/// Which flows: those that all given fields fit. IP version, protocol, IPv4 addresses, ports, and whether somebody
/// translated the destination are the kernel's to compare (5.19), so that few others come up. IPv6 addresses, and
/// ports without a protocol, are compared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IP version.
    pub ip: Ip,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Where the client sends to.
    pub to: Option<IpAddr>,
    /// Which port the client sends to.
    pub to_port: Option<u16>,
    /// Where answers come from.
    pub backend: Option<IpAddr>,
    /// Which port answers come from.
    pub backend_port: Option<u16>,
    /// Only flows whose destination was translated.
    pub translated: bool,
}

/// What became of flows that were to be reset.
#[derive(Debug, Default)]
pub struct Reset {
    /// Flows that have an end now.
    pub ended: usize,
    /// Why ends that are silent are not told, if they are not: the first thing that failed.
    pub untold: Option<io::Error>,
}

impl Conntrack {
    /// Opens a socket.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        Ok(Conntrack { socket: Socket::open()? })
    }

    /// Hands each flow that fits to `f`. A flow that begins or moves meanwhile may be missed or come twice.
    ///
    /// # Errors
    /// Of the system calls; `f` may have seen some flows. Asking again is right after `EINTR` and `ENOBUFS`.
    pub fn each(&mut self, filter: &Filter, mut f: impl FnMut(Flow)) -> io::Result<()> {
        let dumped = self.socket.ask(wire::dump(filter), |answer| {
            if let Some(flow) = Flow::parse(answer).filter(|flow| filter.fits(flow)) {
                f(flow);
            }
        });
        Ok(dumped.map(drop)?)
    }

    /// Forgets flows, and returns how many there still were.
    ///
    /// # Errors
    /// The first one, after all were tried.
    pub fn delete(&mut self, flows: &[Flow]) -> io::Result<usize> {
        self.tell(flows, &[Errno::ENOENT], wire::delete)
    }

    /// Ends established TCP flows: their entries stay for `linger` at most, whole seconds, and are marked
    /// `IPS_FIXED_TIMEOUT`, by which a rule may know them that answers each of their packets with a reset. So that
    /// ends that are silent send one, both get a packet as if from the other that makes them answer
    /// (RFC 5961, 4.2).
    ///
    /// # Errors
    /// The first one, after all were tried. That nobody could be made to answer is none: see [`Reset::untold`].
    pub fn reset(&mut self, flows: &[Flow], linger: Duration) -> io::Result<Reset> {
        let seconds = linger.as_secs().clamp(1, 3600) as u32;
        let told = self.tell(flows, &[Errno::ENOENT, Errno::EPERM], |flow| wire::end(flow, seconds));
        let poked = Poker::open(flows).and_then(|poker| poker.poke(flows));
        Ok(Reset { ended: told?, untold: poked.err() })
    }

    /// Sends a message for each flow, and returns how many the kernel took. Some errors are none: the flow is
    /// gone, or has its end already.
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

    /// Whether a flow is one of these.
    pub fn fits(&self, flow: &Flow) -> bool {
        fn is<T: PartialEq>(wanted: Option<T>, found: T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
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
