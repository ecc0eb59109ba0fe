//! Messages of rtnetlink(7) about interfaces, addresses and IP forwarding. Source:
//! include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h and netconf.h.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::attr::Attributes;
use crate::message;
use crate::reply::{self, Reply};

/// Lengths of `nlmsghdr`, `ifinfomsg`, `ifaddrmsg`, and `netconfmsg` with padding.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;
const NETCONF: usize = 4;

/// `NETCONFA_IFINDEX`, `NETCONFA_FORWARDING` and `NETCONFA_IFINDEX_ALL`.
const IFINDEX: u16 = 1;
const FORWARDING: u16 = 2;
const ALL: i32 = -1;

/// Maximum number of dumps if the list changes during a dump.
const ATTEMPTS: u32 = 10;

/// Calls `each` with type and content of the messages of a datagram.
pub(crate) fn messages(datagram: &[u8], mut each: impl FnMut(u16, &[u8])) {
    // A truncated message is ignored.
    let _ = message::split(datagram, |message| {
        each(message::kind(message) as u16, message.get(HEADER..).unwrap_or_default());
    });
}

/// Dumps all objects of a kind, `RTM_GETLINK` or `RTM_GETADDR`, and calls `each` with the content of each message.
/// `each` may get an object several times if the list changes during a dump.
pub(crate) fn dump(
    socket: &OwnedFd,
    buffer: &mut [u8],
    kind: u16,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let mut question = [0; HEADER + LINK];
        question[..4].copy_from_slice(&((HEADER + LINK) as u32).to_ne_bytes());
        question[4..6].copy_from_slice(&kind.to_ne_bytes());
        question[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        again(|| send(socket.as_raw_fd(), &question, MsgFlags::empty()))?;
        let (mut done, mut interrupted) = (None, false);
        while done.is_none() {
            let length = again(|| recv(socket.as_raw_fd(), buffer, MsgFlags::empty()))?;
            message::split(&buffer[..length], |message| {
                interrupted |= message::flags(message) & libc::NLM_F_DUMP_INTR != 0;
                match reply::parse(message) {
                    Reply::Data => each(message.get(HEADER..).unwrap_or_default()),
                    Reply::End => done = Some(Ok(())),
                    Reply::Error(refusal) => done = Some(Err(refusal.errno)),
                }
            })?;
        }
        done.unwrap_or(Ok(()))?;
        if !interrupted {
            return Ok(());
        }
    }
    Err(Errno::EINTR.into())
}

fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The index and name of an interface.
pub(crate) fn link(message: &[u8]) -> Option<(u32, String)> {
    let (header, attributes) = message.split_at_checked(LINK)?;
    let name = Attributes::new(attributes).text(libc::IFLA_IFNAME)?;
    Some((number(&header[4..8])?, name.to_owned()))
}

/// The index of an interface, and one of its addresses with the prefix length of its network. For a
/// point-to-point address this is the network of the peer. The label of an address is ignored, because it
/// is not the name of an interface.
pub(crate) fn address(message: &[u8]) -> Option<(u32, IpAddr, u8)> {
    let (header, attributes) = message.split_at_checked(ADDRESS)?;
    let attributes = Attributes::new(attributes);
    let bytes = attributes.bytes(libc::IFA_ADDRESS).or_else(|| attributes.bytes(libc::IFA_LOCAL))?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some((number(&header[4..8])?, address, header[1]))
}

/// Whether a `RTM_NEWNETCONF` is about the host's forwarding, `net.ipv4.ip_forward` or `net.ipv6.conf.all.forwarding`. The
/// kernel also sends messages about each interface (`inet_forward_change` in net/ipv4/devinet.c,
/// `addrconf_fixup_forwarding` in net/ipv6/addrconf.c).
pub(crate) fn is_forwarding_of_the_host(message: &[u8]) -> bool {
    let attributes = Attributes::new(message.get(NETCONF..).unwrap_or_default());
    attributes.bytes(FORWARDING).is_some()
        && attributes.bytes(IFINDEX).and_then(number).is_some_and(|index| index as i32 == ALL)
}

/// A number in host order, as in rtnetlink.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}
