//! Addresses that sluice adds to interfaces: rtnetlink(7).

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;

use crate::interfaces::{BUFFER, questions};
use crate::rtnetlink::{self, AddressMessage};

/// `IFA_PROTO` of the addresses that sluice adds, by which it finds them again after a crash: 115, the letter `s`. The kernel
/// uses 1 to 3 (`IFAPROT_*` in include/uapi/linux/if_addr.h), and keepalived 18; ip(8) from 6.3 on shows `proto 0x73`.
const PROTOCOL: u8 = 115;

/// An address of an interface of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Whether sluice added it: `IFA_PROTO` is 115, and the prefix is the whole address.
    pub is_ours: bool,
}

/// Reads, adds and deletes addresses in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Addresses {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Indices of the interfaces, as of the last list.
    indices: HashMap<String, u32>,
}

impl Addresses {
    /// Opens a socket of its own, so that it works when the process has no free file descriptors.
    pub fn open() -> io::Result<Self> {
        Ok(Addresses { socket: questions()?, buffer: vec![0; BUFFER], indices: HashMap::new() })
    }

    /// The addresses of all interfaces.
    pub fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        let mut names = HashMap::new();
        rtnetlink::dump(&self.socket, &mut self.buffer, libc::RTM_GETLINK, |link| {
            names.extend(rtnetlink::link(link));
        })?;
        self.indices = names.iter().map(|(index, name)| (name.clone(), *index)).collect();
        let mut addresses = Vec::new();
        rtnetlink::dump(&self.socket, &mut self.buffer, libc::RTM_GETADDR, |message| {
            let Some(message) = AddressMessage::parse(message) else { return };
            if let (Some(interface), Some(address)) = (names.get(&message.index), message.local()) {
                let whole = if address.is_ipv4() { 32 } else { 128 };
                let is_ours = message.protocol() == PROTOCOL && message.prefix == whole;
                addresses.push(HostAddress { interface: interface.clone(), address, is_ours });
            }
        })?;
        Ok(addresses)
    }

    /// Adds an address to an interface of the last [`Addresses::list`], as /32 or /128.
    ///
    /// # Errors
    /// Among others `ENODEV` without such an interface, `EEXIST` if it has the address, and `EPERM` without CAP_NET_ADMIN.
    pub fn add(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        // Other hosts use the same address at the same time, which duplicate address detection would find.
        let flags = if address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        let content = rtnetlink::address_request(self.index(interface)?, address, flags, Some(PROTOCOL));
        let new = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        rtnetlink::change(&self.socket, &mut self.buffer, libc::RTM_NEWADDR, new, &content)
    }

    /// Deletes an address of the last [`Addresses::list`] that is ours.
    ///
    /// # Errors
    /// Among others `EADDRNOTAVAIL` if the interface does not have it.
    pub fn delete(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        let content = rtnetlink::address_request(self.index(interface)?, address, 0, None);
        rtnetlink::change(&self.socket, &mut self.buffer, libc::RTM_DELADDR, 0, &content)
    }

    fn index(&self, interface: &str) -> io::Result<u32> {
        self.indices.get(interface).copied().ok_or_else(|| Errno::ENODEV.into())
    }
}
