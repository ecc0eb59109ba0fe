//! What the kernel tells of commits.

use std::io;

use nftnl::nftnl_sys::libc::{self, NFNLGRP_NFTABLES, NFT_MSG_NEWGEN};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::message;
use crate::socket::Socket;
use crate::step::Target;
use crate::uapi;

/// Bytes that may wait for us.
const WAITING: usize = 8 << 20;

/// Hears of every commit in the network namespace that the opening thread was in, if it is subscribed. That has
/// its price: for every listener's sake the kernel makes a message of each object and element of each commit.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    /// Port whose commits are ours.
    us: u32,
    /// Whether the commit that is being told touched our table.
    touched: bool,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// Perhaps the end of a commit.
    Something,
    /// There was more to hear than we could take; what is left of it comes next.
    Lost,
}

/// A commit that was told to its end.
pub(crate) struct Commit<'a> {
    /// Whether somebody else did something to our table with it.
    pub(crate) touched: bool,
    /// Its `NFT_MSG_NEWGEN`.
    pub(crate) message: &'a [u8],
}

impl Listener {
    /// Not subscribed yet. What the socket of port `us` commits is ours.
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

    /// Takes what has arrived, a piece of it.
    pub(crate) fn hear(&mut self, mut each: impl FnMut(Commit<'_>)) -> Result<Heard, Errno> {
        let Listener { socket, us, touched } = self;
        let arrived = socket.receive(|event| {
            // Everything a commit did is told, and then the commit itself (`nf_tables_commit`).
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
            Ok(true) => Ok(Heard::Something),
            Ok(false) => Ok(Heard::Nothing),
            Err(Errno::ENOBUFS) => {
                // The end of the commit that was being told may be lost.
                self.touched = false;
                Ok(Heard::Lost)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Waits for something to arrive; `false` if nothing does.
    pub(crate) fn wait(&self, timeout: PollTimeout) -> nix::Result<bool> {
        match poll(&mut [PollFd::new(self.socket.fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno),
        }
    }
}

impl Commit<'_> {
    /// Generation that it led to.
    pub(crate) fn generation(&self) -> u32 {
        message::attributes(self.message).u32(uapi::generation::ID).unwrap_or(0)
    }

    /// Process that sent it, and its name.
    pub(crate) fn process(&self) -> (u32, &str) {
        let attributes = message::attributes(self.message);
        let name = attributes.text(uapi::generation::PROCESS_NAME).unwrap_or_default();
        (attributes.u32(uapi::generation::PROCESS_ID).unwrap_or(0), name)
    }
}

fn event_kind(kind: libc::c_int) -> libc::c_int {
    libc::NFNL_SUBSYS_NFTABLES << 8 | kind
}
