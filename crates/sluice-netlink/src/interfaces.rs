//! Networks of the interfaces, and events about interfaces, addresses and IP forwarding: rtnetlink(7).

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

/// Changes are reported after a pause of this length, because they arrive in bursts.
const QUIET: Duration = Duration::from_millis(100);

/// Changes are reported after this time even without a pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Maximum number of datagrams received between two checks of the time.
const AT_ONCE: usize = 64;

/// Larger than any datagram of the kernel.
pub(crate) const BUFFER: usize = 1 << 16;

/// Receives events about interfaces, addresses and IP forwarding in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Interfaces {
    events: OwnedFd,
    /// For requests. Opened at the start, so that it works when the process has no free file descriptors.
    questions: OwnedFd,
    buffer: Vec<u8>,
}

/// The kinds of changes; each may be set without a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces or their addresses.
    pub networks: bool,
    /// IP forwarding of the host.
    pub forwarding: bool,
}

impl Changes {
    fn any(self) -> bool {
        self.networks || self.forwarding
    }
}

impl Interfaces {
    /// Subscribes to events.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let events = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(events.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Interfaces { events, questions: questions()?, buffer: vec![0; BUFFER] })
    }

    /// Waits for a change, and then for a pause in changes, but at most a second. A burst of changes is reported once.
    pub fn wait(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        while !changes.any() {
            self.receive(PollTimeout::NONE, &mut changes)?;
        }
        let end = Instant::now() + LONGEST;
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(QUIET);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if left.is_zero() || !self.receive(timeout, &mut changes)? {
                return Ok(changes);
            }
        }
    }

    /// Names of interfaces, and their addresses with prefix lengths.
    pub fn networks(&mut self) -> io::Result<Vec<(String, IpNet)>> {
        networks_by(&self.questions, &mut self.buffer)
    }

    /// Receives events until the timeout; returns whether there were any.
    fn receive(&mut self, timeout: PollTimeout, changes: &mut Changes) -> io::Result<bool> {
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
                // Any kind of event may be lost.
                Err(Errno::ENOBUFS) => *changes = Changes { networks: true, forwarding: true },
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }
}

/// Interface names of the calling thread's network namespace, with their addresses and prefix lengths.
pub fn networks() -> io::Result<Vec<(String, IpNet)>> {
    networks_by(&questions()?, &mut vec![0; BUFFER])
}

pub(crate) fn questions() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

fn networks_by(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Vec<(String, IpNet)>> {
    let mut names = HashMap::new();
    rtnetlink::dump(socket, buffer, libc::RTM_GETLINK, |link| names.extend(rtnetlink::link(link)))?;
    let mut networks = Vec::new();
    rtnetlink::dump(socket, buffer, libc::RTM_GETADDR, |address| {
        // There will be an event about an interface that was added in between.
        if let Some((index, address, prefix)) = rtnetlink::address(address)
            && let (Some(name), Ok(net)) = (names.get(&index), IpNet::new(address, prefix))
        {
            networks.push((String::clone(name), net));
        }
    })?;
    Ok(networks)
}
