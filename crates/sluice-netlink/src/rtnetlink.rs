//! Messages of rtnetlink(7) about interfaces, addresses and IP forwarding. Source:
//! include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h and netconf.h.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nftnl::nftnl_sys::libc;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::attr::{Attributes, Write};
use crate::message;
use crate::reply::{self, Reply};

/// Lengths of `nlmsghdr`, `ifinfomsg`, `ifaddrmsg`, and `netconfmsg` with padding.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;
const NETCONF: usize = 4;

/// `IFA_PROTO`.
const PROTOCOL: u16 = 11;

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
        let question = request(kind, libc::NLM_F_DUMP, &[0; LINK]);
        let mut interrupted = false;
        ask(socket, buffer, &question, |message| {
            interrupted |= message::flags(message) & libc::NLM_F_DUMP_INTR != 0;
            each(message.get(HEADER..).unwrap_or_default());
        })?;
        if !interrupted {
            return Ok(());
        }
    }
    Err(Errno::EINTR.into())
}

/// Has the kernel execute a change, and waits for its acknowledgement. `content` is what follows the netlink header.
pub(crate) fn change(
    socket: &OwnedFd,
    buffer: &mut [u8],
    kind: u16,
    flags: i32,
    content: &[u8],
) -> io::Result<()> {
    ask(socket, buffer, &request(kind, flags | libc::NLM_F_ACK, content), |_| {})
}

/// A message with this content after its header. `flags` are `NLM_F_*` in addition to `NLM_F_REQUEST`.
fn request(kind: u16, flags: i32, content: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend_from_slice(content);
    message::finish(message)
}

/// Sends a request, and calls `each` with the messages of the answer, without its end.
fn ask(socket: &OwnedFd, buffer: &mut [u8], question: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    again(|| send(socket.as_raw_fd(), question, MsgFlags::empty()))?;
    let mut done = None;
    while done.is_none() {
        let length = again(|| recv(socket.as_raw_fd(), buffer, MsgFlags::empty()))?;
        message::split(&buffer[..length], |message| match reply::parse(message) {
            Reply::Data => each(message),
            Reply::End => done = Some(Ok(())),
            Reply::Error(refusal) => done = Some(Err(refusal.errno)),
        })?;
    }
    Ok(done.unwrap_or(Ok(()))?)
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

/// An address of an interface.
pub(crate) struct AddressMessage<'a> {
    /// Index of the interface.
    pub(crate) index: u32,
    /// Prefix length.
    pub(crate) prefix: u8,
    attributes: Attributes<'a>,
}

impl<'a> AddressMessage<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, attributes) = message.split_at_checked(ADDRESS)?;
        let attributes = Attributes::new(attributes);
        Some(AddressMessage { index: number(&header[4..8])?, prefix: header[1], attributes })
    }

    /// The address of this host. IPv6 has `IFA_LOCAL` only if the peer's address differs.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.ip(libc::IFA_LOCAL).or_else(|| self.ip(libc::IFA_ADDRESS))
    }

    /// `IFA_PROTO`: who added it; 0 if that is not known.
    pub(crate) fn protocol(&self) -> u8 {
        self.attributes.bytes(PROTOCOL).and_then(|bytes| bytes.first().copied()).unwrap_or(0)
    }

    fn ip(&self, attribute: u16) -> Option<IpAddr> {
        let bytes = self.attributes.bytes(attribute)?;
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    }
}

/// The content of a message about an address with its whole length as prefix. `flags` are `IFA_F_*`, and `protocol` is
/// `IFA_PROTO`.
pub(crate) fn address_request(index: u32, address: IpAddr, flags: u8, protocol: Option<u8>) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let scope = libc::RT_SCOPE_UNIVERSE;
    let mut content = vec![family as u8, 8 * bytes.len() as u8, flags, scope];
    content.extend_from_slice(&index.to_ne_bytes());
    content.put(libc::IFA_LOCAL, &bytes);
    content.put(libc::IFA_ADDRESS, &bytes);
    if let Some(protocol) = protocol {
        content.put(PROTOCOL, &[protocol]);
    }
    content
}

/// The index of an interface, and one of its addresses with the prefix length of its network. For a
/// point-to-point address this is the network of the peer. The label of an address is ignored, because it
/// is not the name of an interface.
pub(crate) fn address(message: &[u8]) -> Option<(u32, IpAddr, u8)> {
    let message = AddressMessage::parse(message)?;
    let address = message.ip(libc::IFA_ADDRESS).or_else(|| message.ip(libc::IFA_LOCAL))?;
    Some((message.index, address, message.prefix))
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
