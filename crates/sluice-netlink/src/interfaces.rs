//! Networks that the interfaces are in, whether the host forwards, and when that changes: rtnetlink(7).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::rtnetlink;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`, `RTNLGRP_IPV4_NETCONF` and `RTNLGRP_IPV6_NETCONF`.
const GROUPS: u32 =
    0x1 | 0x10 | 0x100 | 1 << (libc::RTNLGRP_IPV4_NETCONF - 1) | 1 << (libc::RTNLGRP_IPV6_NETCONF - 1);

/// How long nothing may come before changes are told: they come in bursts.
const QUIET: Duration = Duration::from_millis(100);

/// How long a burst may last before it is told of, whatever still comes.
const LONGEST: Duration = Duration::from_secs(1);

/// Datagrams taken at a time.
const AT_ONCE: usize = 64;

/// Larger than what the kernel sends at once.
const BUFFER: usize = 1 << 16;

/// Hears of changes of interfaces, of their addresses and of forwarding, in the network namespace that the opening
/// thread was in.
#[derive(Debug)]
pub struct Interfaces {
    events: OwnedFd,
    /// Asks for addresses. Open from the beginning, so that a process without free descriptors can still ask.
    questions: OwnedFd,
    buffer: Vec<u8>,
}

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Perhaps interfaces or their addresses.
    pub networks: bool,
    /// Perhaps whether the host forwards.
    pub forwarding: bool,
}

impl Changes {
    fn any(self) -> bool {
        self.networks || self.forwarding
    }
}

impl Interfaces {
    /// Listens from now on.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let events = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(events.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Interfaces { events, questions: questions()?, buffer: vec![0; BUFFER] })
    }

    /// Waits for a change and then until no other follows, for a second at most. What comes by the hundred is told once.
    pub fn wait(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        while !changes.any() {
            self.hear(PollTimeout::NONE, &mut changes)?;
        }
        let end = Instant::now() + LONGEST;
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(QUIET);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if left.is_zero() || !self.hear(timeout, &mut changes)? {
                return Ok(changes);
            }
        }
    }

    /// Names of interfaces, and their addresses with prefix lengths.
    pub fn networks(&mut self) -> io::Result<Vec<(String, IpNet)>> {
        networks_by(&self.questions, &mut self.buffer)
    }

    /// Takes what has come by then; `false` if nothing has.
    fn hear(&mut self, timeout: PollTimeout, changes: &mut Changes) -> io::Result<bool> {
        match poll(&mut [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for _ in 0..AT_ONCE {
            match recv(self.events.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => rtnetlink::messages(&self.buffer[..length], |kind, message| match kind {
                    libc::RTM_NEWNETCONF => {
                        changes.forwarding |= rtnetlink::is_forwarding_of_the_host(message);
                    }
                    libc::RTM_DELNETCONF => {}
                    _ => changes.networks = true,
                }),
                // What got lost may have been anything; all of it can be looked up.
                Err(Errno::ENOBUFS) => *changes = Changes { networks: true, forwarding: true },
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }
}

/// Names of interfaces of the calling thread's network namespace, and their addresses with prefix lengths.
pub fn networks() -> io::Result<Vec<(String, IpNet)>> {
    networks_by(&questions()?, &mut vec![0; BUFFER])
}

fn questions() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

fn networks_by(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Vec<(String, IpNet)>> {
    let mut names = HashMap::new();
    rtnetlink::dump(socket, buffer, libc::RTM_GETLINK, |link| names.extend(rtnetlink::link(link)))?;
    let mut networks = Vec::new();
    rtnetlink::dump(socket, buffer, libc::RTM_GETADDR, |address| {
        // An interface that came in between is heard of.
        if let Some((index, address, prefix)) = rtnetlink::address(address)
            && let (Some(name), Ok(net)) = (names.get(&index), IpNet::new(address, prefix))
        {
            networks.push((String::clone(name), net));
        }
    })?;
    Ok(networks)
}
