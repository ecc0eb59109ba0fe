//! Events about flows that conntrack destroys.

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use nftnl::nftnl_sys::libc::{self, sock_filter};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Flow;
use super::wire::{DELETE, IPS_DST_NAT, STATUS, kind};
use crate::message;
use crate::socket::{Received, Socket};

/// `NFNLGRP_CONNTRACK_DESTROY`.
const DESTROYED: c_int = 3;

/// Size of the receive buffer in bytes, unless the administrator permits less. Memory is used only for queued events, about a
/// kilobyte per flow.
const WAITING: usize = 64 << 20;

/// Receives an event for every destroyed flow whose destination was translated, in the network namespace of the
/// thread that opened it. The kernel sends events only for flows that began while there was a subscriber
/// (`net.netfilter.nf_conntrack_events`).
pub struct DestroyEvents {
    pub(crate) socket: Socket,
}

impl DestroyEvents {
    /// Subscribes to events.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.filter(&mut translated_only())?;
        socket.make_room(WAITING)?;
        socket.subscribe(DESTROYED, true)?;
        Ok(DestroyEvents { socket })
    }

    /// Receives one datagram of events.
    ///
    /// # Errors
    /// Of the system calls.
    pub fn take(&mut self, mut each: impl FnMut(Flow)) -> io::Result<Received> {
        let arrived = self.socket.receive(|event| {
            if message::kind(event) == c_int::from(kind(DELETE))
                && let Some(flow) = Flow::parse(event).filter(Flow::is_translated)
            {
                each(flow);
            }
        });
        match arrived {
            Ok(true) => Ok(Received::Events),
            Ok(false) => Ok(Received::Nothing),
            Err(Errno::ENOBUFS) => Ok(Received::Lost),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for events or for `other` to become readable, at most for `timeout` milliseconds.
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

/// A filter that drops events about other flows in the kernel: it reads the attribute with the status after the headers.
fn translated_only() -> [sock_filter; 9] {
    const FIND_ATTRIBUTE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR) as u32;
    let code = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let (load, abs, ret) = (libc::BPF_LD, libc::BPF_ABS, libc::BPF_RET | libc::BPF_K);
    let jump = libc::BPF_JMP | libc::BPF_K;
    [
        code(load | libc::BPF_IMM, 0, 0, message::HEADERS as u32),
        code(libc::BPF_LDX | libc::BPF_IMM, 0, 0, STATUS.into()),
        code(load | libc::BPF_W | abs, 0, 0, FIND_ATTRIBUTE),
        // Without the attribute, the event is accepted and checked here.
        code(jump | libc::BPF_JEQ, 3, 0, 0),
        code(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
        code(load | libc::BPF_W | libc::BPF_IND, 0, 0, 4),
        code(jump | libc::BPF_JSET, 0, 1, IPS_DST_NAT),
        code(ret, 0, 0, u32::MAX),
        code(ret, 0, 0, 0),
    ]
}
