//! Flows that end.

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use nftnl::nftnl_sys::libc::{self, sock_filter};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Flow;
use super::wire::{DELETE, IPS_DST_NAT, STATUS, kind};
use crate::message;
use crate::socket::Socket;

/// `NFNLGRP_CONNTRACK_DESTROY`.
const DESTROYED: c_int = 3;

/// Bytes that may wait for us, unless the administrator allows fewer. They are taken only while something waits; a flow
/// takes about a kilobyte.
const WAITING: usize = 64 << 20;

/// Hears of every flow that conntrack forgets and whose destination was translated, in the network namespace that the
/// opening thread was in. The kernel tells only of flows that began while somebody listened
/// (`net.netfilter.nf_conntrack_events`).
pub struct Endings {
    pub(crate) socket: Socket,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Nothing more.
    Nothing,
    /// Something.
    Something,
    /// There was more than we could take, and nobody knows what it was.
    Lost,
}

impl Endings {
    /// Listens from now on.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.filter(&mut translated_only())?;
        socket.make_room(WAITING)?;
        socket.subscribe(DESTROYED, true)?;
        Ok(Endings { socket })
    }

    /// Takes what has arrived, a piece of it.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn take(&mut self, mut each: impl FnMut(Flow)) -> io::Result<Arrived> {
        let arrived = self.socket.receive(|event| {
            if message::kind(event) == c_int::from(kind(DELETE))
                && let Some(flow) = Flow::parse(event).filter(Flow::is_translated)
            {
                each(flow);
            }
        });
        match arrived {
            Ok(true) => Ok(Arrived::Something),
            Ok(false) => Ok(Arrived::Nothing),
            Err(Errno::ENOBUFS) => Ok(Arrived::Lost),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until something arrives here or at `other`, or for so many milliseconds.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn wait(&self, other: BorrowedFd<'_>, timeout: u16) -> io::Result<()> {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        match poll(&mut [on(self.socket.fd()), on(other)], PollTimeout::from(timeout)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Has the kernel drop the others before they get here: looks for the attribute with the status behind both headers.
fn translated_only() -> [sock_filter; 9] {
    const FIND_ATTRIBUTE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR) as u32;
    let code = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let (load, abs, ret) = (libc::BPF_LD, libc::BPF_ABS, libc::BPF_RET | libc::BPF_K);
    let jump = libc::BPF_JMP | libc::BPF_K;
    [
        code(load | libc::BPF_IMM, 0, 0, message::HEADERS as u32),
        code(libc::BPF_LDX | libc::BPF_IMM, 0, 0, STATUS.into()),
        code(load | libc::BPF_W | abs, 0, 0, FIND_ATTRIBUTE),
        // Where there is none it is for us to tell.
        code(jump | libc::BPF_JEQ, 3, 0, 0),
        code(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
        code(load | libc::BPF_W | libc::BPF_IND, 0, 0, 4),
        code(jump | libc::BPF_JSET, 0, 1, IPS_DST_NAT),
        code(ret, 0, 0, u32::MAX),
        code(ret, 0, 0, 0),
    ]
}
