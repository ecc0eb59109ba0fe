//! Networks that the interfaces are in, and when that changes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv,
    socket,
};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Milliseconds without a further change after which one is told: they come in bursts.
const QUIET: u8 = 100;

/// Hears of every change of interfaces and their addresses in the network namespace that the opening thread was in.
#[derive(Debug)]
pub struct Interfaces(OwnedFd);

impl Interfaces {
    /// Listens from now on.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Interfaces(socket))
    }

    /// Waits for a change, and until no other follows.
    pub fn wait(&self) -> io::Result<()> {
        self.hear(PollTimeout::NONE)?;
        while self.hear(QUIET.into())? {}
        Ok(())
    }

    /// Takes what has come by then; `false` if nothing has. What it says can be looked up, so it may get lost.
    fn hear(&self, timeout: PollTimeout) -> io::Result<bool> {
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut message = [0; 8192];
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Names of interfaces of the calling thread's network namespace, and their addresses with prefix lengths.
pub fn networks() -> io::Result<Vec<(String, IpNet)>> {
    Ok(getifaddrs()?.filter_map(network).collect())
}

fn network(interface: InterfaceAddress) -> Option<(String, IpNet)> {
    let address = ip(&interface.address?)?;
    let net = IpNet::with_netmask(address, ip(&interface.netmask?)?).ok()?;
    Some((interface.interface_name, net))
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
}
