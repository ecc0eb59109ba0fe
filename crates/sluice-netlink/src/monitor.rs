//! What others do to our table, as the kernel tells it.

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

/// Hears of every commit in the network namespace that the opening thread was in.
pub struct Monitor {
    socket: Socket,
    /// Port whose commits are ours.
    us: u32,
    /// Whether the commit that is being told touched our table.
    touched: bool,
    heard: Vec<Event>,
}

/// Something happened to our table that we did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody changed it.
    Changed(Change),
    /// There was more to hear than we could take.
    Lost,
}

/// A commit by somebody else that touched our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Generation that it led to.
    pub generation: u32,
    /// Process that sent it.
    pub pid: u32,
    /// Name of that.
    pub process: String,
}

impl Monitor {
    /// Listens from now on. What the socket of port `us` commits is ours.
    pub(crate) fn open(us: u32) -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.ignore(us, event_kind(NFT_MSG_NEWGEN))?;
        socket.listen(NFNLGRP_NFTABLES, WAITING)?;
        Ok(Monitor { socket, us, touched: false, heard: vec![] })
    }

    /// Waits for the next event.
    pub fn wait(&mut self) -> io::Result<Event> {
        loop {
            if !self.heard.is_empty() {
                return Ok(self.heard.remove(0));
            }
            let fd = self.socket.fd();
            match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => self.receive()?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let Monitor { socket, us, touched, heard } = self;
        match socket.receive(|event| heard.extend(hear(event, *us, touched))) {
            Ok(_) => Ok(()),
            Err(Errno::ENOBUFS) => {
                // The end of the commit that was being told may be lost.
                self.touched = false;
                self.heard.push(Event::Lost);
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Everything a commit did is told, and then the commit itself (`nf_tables_commit`).
fn hear(event: &[u8], us: u32, touched: &mut bool) -> Option<Event> {
    let attributes = message::attributes(event);
    if message::kind(event) != event_kind(NFT_MSG_NEWGEN) {
        // The first attribute of every object is the name of its table.
        *touched |= message::family(event) == Some(uapi::FAMILY)
            && attributes.text(uapi::table::NAME) == Some(Target::SLUICE.name);
        return None;
    }
    let touched = std::mem::take(touched);
    (touched && message::port(event) != us).then(|| {
        Event::Changed(Change {
            generation: attributes.u32(uapi::generation::ID).unwrap_or(0),
            pid: attributes.u32(uapi::generation::PROCESS_ID).unwrap_or(0),
            process: attributes.text(uapi::generation::PROCESS_NAME).unwrap_or_default().to_owned(),
        })
    })
}

fn event_kind(kind: libc::c_int) -> libc::c_int {
    libc::NFNL_SUBSYS_NFTABLES << 8 | kind
}
