//! A netlink socket that never blocks: the kernel answers before `send` returns.

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use mnl::mnl_sys;
use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname, getsockopt, sendmsg, setsockopt, sockopt};

use crate::message;
use crate::reply::{self, Reply};

/// Larger than any datagram of a dump.
const BUFFER: usize = 1 << 16;

/// Overhead of an skb in bytes (`netlink_sendmsg`).
const SEND_OVERHEAD: usize = 32;

/// A socket for nf_tables.
pub(crate) struct Socket {
    socket: mnl::Socket,
    buffer: Box<Buffer>,
    /// Number of requests, which is the sequence number of the last one.
    asked: u64,
    /// Whether the answer to the last request was not read to its end.
    unread: bool,
    /// Injected errors, first to last.
    #[cfg(test)]
    pub(crate) faults: std::collections::VecDeque<Fault>,
}

/// An injected error of a system call.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    /// Number of calls of this kind that succeed before.
    pub(crate) after: usize,
    pub(crate) errno: Errno,
}

#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Send,
    Receive,
}

/// Aligned for `nlmsghdr`.
#[repr(align(8))]
struct Buffer([u8; BUFFER]);

// SAFETY: `mnl::Socket` is not `Send` only because it holds a pointer; libmnl's socket is a file
// descriptor and two plain fields, independent of the thread, and owned by this value alone.
unsafe impl Send for Socket {}

/// The result of receiving events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// No events.
    Nothing,
    /// One datagram of events.
    Events,
    /// The receive buffer overflowed, and events were lost.
    Lost,
}

/// The completeness of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dumped {
    /// Complete, and of one generation.
    Whole,
    /// The ruleset changed during the dump.
    Interrupted,
}

impl Socket {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
        let socket = Socket {
            socket,
            buffer: Box::new(Buffer([0; BUFFER])),
            asked: 0,
            unread: false,
            #[cfg(test)]
            faults: Default::default(),
        };
        fcntl(socket.fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(socket.fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Errors without the refused message in them, but with the place in it that was refused.
        // Kernels from 4.12 on have both; without, errors only say less.
        let _ = socket.switch_on(libc::NETLINK_CAP_ACK);
        let _ = socket.switch_on(libc::NETLINK_EXT_ACK);
        Ok(socket)
    }

    /// Makes room for the largest batch, and returns how many bytes one may have. In a user namespace
    /// the administrator's `net.core.wmem_max` limits that.
    pub(crate) fn enlarge(&self) -> nix::Result<usize> {
        const SIZE: usize = 1 << 30;
        setsockopt(&self.fd(), sockopt::SndBufForce, &SIZE)
            .or_else(|_| setsockopt(&self.fd(), sockopt::SndBuf, &SIZE))?;
        Ok(getsockopt(&self.fd(), sockopt::SndBuf)?.saturating_sub(SEND_OVERHEAD))
    }

    /// Makes the kernel drop events caused by netlink port `port`, except messages of the kind `but`.
    pub(crate) fn ignore(&self, port: u32, but: c_int) -> io::Result<()> {
        const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
        const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let code = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        // Netlink headers are in host order, but these loads use network order.
        let mut program = [
            code(LOAD_WORD, 0, 0, 12),
            code(EQUAL, 0, 3, port.to_be()),
            code(LOAD_HALF, 0, 0, 4),
            code(EQUAL, 1, 0, (but as u16).to_be().into()),
            code(RETURN, 0, 0, 0),
            code(RETURN, 0, 0, u32::MAX),
        ];
        self.filter(&mut program)
    }

    /// Attaches a filter program, which drops messages in the kernel.
    pub(crate) fn filter(&self, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        // SAFETY: the socket is open, and the program lives until the kernel has copied it.
        let result = unsafe {
            let value = (&raw const program).cast::<c_void>();
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, size)
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// Sets the size of the receive buffer in bytes, and returns the actual size. In a user
    /// namespace `net.core.rmem_max` limits it.
    pub(crate) fn make_room(&self, bytes: usize) -> nix::Result<usize> {
        setsockopt(&self.fd(), sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(&self.fd(), sockopt::RcvBuf, &bytes))?;
        getsockopt(&self.fd(), sockopt::RcvBuf)
    }

    /// Subscribes to a multicast group, or unsubscribes.
    pub(crate) fn subscribe(&self, group: c_int, on: bool) -> io::Result<()> {
        let (value, size) = ((&raw const group).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
        // SAFETY: the socket is open, and `value` points to `size` bytes that are only read.
        let result = unsafe {
            let membership = if on { libc::NETLINK_ADD_MEMBERSHIP } else { libc::NETLINK_DROP_MEMBERSHIP };
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_NETLINK, membership, value, size)
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// Its netlink port, which the kernel assigns with the first message.
    pub(crate) fn port(&self) -> nix::Result<u32> {
        getsockname::<NetlinkAddr>(self.socket.as_raw_fd()).map(|address| address.pid())
    }

    /// Sends all parts as one datagram.
    pub(crate) fn send(&mut self, parts: &[IoSlice<'_>]) -> nix::Result<()> {
        #[cfg(test)]
        if let Some(errno) = self.fault(Call::Send) {
            return Err(errno);
        }
        let kernel = NetlinkAddr::new(0, 0);
        sendmsg(self.socket.as_raw_fd(), parts, &[], MsgFlags::empty(), Some(&kernel)).map(drop)
    }

    /// Receives one datagram and calls `each` with its messages; `false` if there is none.
    pub(crate) fn receive(&mut self, each: impl FnMut(&[u8])) -> Result<bool, Errno> {
        #[cfg(test)]
        if let Some(errno) = self.fault(Call::Receive) {
            return Err(errno);
        }
        let length = match self.socket.recv_raw(&mut self.buffer.0) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.try_into().unwrap_or(Errno::EIO)),
        };
        message::split(&self.buffer.0[..length], each)?;
        Ok(true)
    }

    /// Sends one request and calls `each` with every data message of the answer.
    pub(crate) fn ask(&mut self, question: Vec<u8>, mut each: impl FnMut(&[u8])) -> Result<Dumped, Errno> {
        // The kernel starts no dump while another one is not finished.
        if self.unread {
            while self.receive(|_| {})? {}
        }
        self.unread = true;
        self.asked += 1;
        let sequence = self.asked as u32;
        let mut question = message::finish(question);
        message::number(&mut question, sequence);
        self.send(&[IoSlice::new(&question)])?;

        let mut end = None;
        let mut dumped = Dumped::Whole;
        while end.is_none() {
            let arrived = self.receive(|answer| {
                if message::sequence(answer) != sequence {
                    return;
                }
                if message::flags(answer) & libc::NLM_F_DUMP_INTR != 0 {
                    dumped = Dumped::Interrupted;
                }
                match reply::parse(answer) {
                    Reply::Data => each(answer),
                    Reply::End => end = Some(Ok(())),
                    Reply::Error(error) => end = Some(Err(error.errno)),
                }
            })?;
            if !arrived {
                return Err(Errno::EAGAIN);
            }
        }
        self.unread = false;
        end.unwrap_or(Ok(())).map(|()| dumped)
    }

    /// Number of requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    #[cfg(test)]
    fn fault(&mut self, call: Call) -> Option<Errno> {
        let fault = self.faults.front_mut().filter(|fault| fault.call == call)?;
        match fault.after.checked_sub(1) {
            Some(left) => {
                fault.after = left;
                None
            }
            None => self.faults.pop_front().map(|fault| fault.errno),
        }
    }

    fn switch_on(&self, option: c_int) -> io::Result<()> {
        let mut on: c_int = 1;
        let (value, size) = ((&raw mut on).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
        // SAFETY: the socket is open, and `value` points to `size` bytes that are only read.
        match unsafe { mnl_sys::mnl_socket_setsockopt(self.socket.as_raw_socket(), option, value, size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open while `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
