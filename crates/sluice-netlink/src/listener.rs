//! Events about commits.

use std::io;

use nftnl::nftnl_sys::libc::{self, NFNLGRP_NFTABLES, NFT_MSG_NEWGEN};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::message;
use crate::socket::{Received, Socket};
use crate::target::Target;
use crate::uapi;

/// Size of the receive buffer.
const WAITING: usize = 8 << 20;

/// While subscribed, receives events about every commit in the network namespace of the thread that opened it. This has a
/// cost: with any subscriber, the kernel writes a message for each object and element of each commit.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    /// Netlink port that sends our commits.
    us: u32,
    /// Whether the commit whose events are being received changed our table.
    touched: bool,
}

/// A commit whose events were received.
pub(crate) struct Commit<'a> {
    /// Whether it is by another program and changed our table.
    pub(crate) touched: bool,
    /// Its `NFT_MSG_NEWGEN`.
    pub(crate) message: &'a [u8],
}

impl Listener {
    /// Opens a socket without subscribing. Commits from netlink port `us` are ours.
    pub(crate) fn open(us: u32) -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.ignore(us, event_kind(NFT_MSG_NEWGEN))?;
        socket.make_room(WAITING)?;
        Ok(Listener { socket, us, touched: false })
    }

    pub(crate) fn subscribe(&mut self, on: bool) -> io::Result<()> {
        self.touched = false;
        self.socket.subscribe(NFNLGRP_NFTABLES, on)
    }

    /// Receives one datagram of events.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Commit<'_>)) -> Result<Received, Errno> {
        let Listener { socket, us, touched } = self;
        let arrived = socket.receive(|event| {
            // Events about the changes of a commit come first, then one about the commit (`nf_tables_commit`).
            if message::kind(event) == event_kind(NFT_MSG_NEWGEN) {
                let touched = std::mem::take(touched) && message::port(event) != *us;
                each(Commit { touched, message: event });
            } else {
                // The first attribute of every object is the name of its table.
                *touched |= message::family(event) == Some(uapi::FAMILY)
                    && message::attributes(event).text(uapi::table::NAME) == Some(Target::SLUICE.name);
            }
        });
        match arrived {
            Ok(true) => Ok(Received::Events),
            Ok(false) => Ok(Received::Nothing),
            Err(Errno::ENOBUFS) => {
                // The end of the current commit may be lost.
                self.touched = false;
                Ok(Received::Lost)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Waits for events; `false` on timeout.
    pub(crate) fn wait(&self, timeout: PollTimeout) -> nix::Result<bool> {
        match poll(&mut [PollFd::new(self.socket.fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno),
        }
    }
}

impl Commit<'_> {
    /// Generation after it.
    pub(crate) fn generation(&self) -> u32 {
        message::attributes(self.message).u32(uapi::generation::ID).unwrap_or(0)
    }

    /// Id and name of the process that sent it.
    pub(crate) fn process(&self) -> (u32, &str) {
        let attributes = message::attributes(self.message);
        let name = attributes.text(uapi::generation::PROCESS_NAME).unwrap_or_default();
        (attributes.u32(uapi::generation::PROCESS_ID).unwrap_or(0), name)
    }
}

fn event_kind(kind: libc::c_int) -> libc::c_int {
    libc::NFNL_SUBSYS_NFTABLES << 8 | kind
}
