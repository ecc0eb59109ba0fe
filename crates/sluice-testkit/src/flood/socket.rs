//! A packet socket that sends (packet(7)).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SetSockOpt, SockFlag, SockType, bind,
    sendmmsg, socket,
};
use nix::{libc, setsockopt_impl, sockopt_impl};

use super::BATCH;
use super::frame::Frame;

sockopt_impl!(
    /// Hands frames to the driver without the queueing layer, Linux 3.14.
    QdiscBypass,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_QDISC_BYPASS,
    bool
);

pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open(interface: &str) -> Self {
        // No protocol: it receives nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .unwrap_or_else(|e| panic!("open a packet socket: {e}"));
        QdiscBypass.set(&socket, &true).unwrap_or_else(|e| panic!("bypass the queueing layer: {e}"));
        bind(socket.as_raw_fd(), &link(interface))
            .unwrap_or_else(|e| panic!("bind a packet socket to {interface}: {e}"));
        PacketSocket(socket)
    }

    /// At most [`BATCH`] frames.
    pub(super) fn send(&self, frames: &[Frame]) {
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame.as_ref())]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(frames.len(), None);
        let (no_addresses, no_control) = ([None; BATCH], [] as [ControlMessage; 0]);
        let sent =
            sendmmsg(self.0.as_raw_fd(), &mut headers, &slices, no_addresses, no_control, MsgFlags::empty())
                .unwrap_or_else(|e| panic!("send {} frames: {e}", frames.len()));
        assert_eq!(sent.count(), frames.len(), "frames sent at once");
    }
}

/// The link-layer address of an interface, which holds its index.
fn link(interface: &str) -> LinkAddr {
    let mut all = getifaddrs().unwrap_or_else(|e| panic!("list interfaces: {e}"));
    let found = all.find_map(|one| match one.interface_name == interface {
        true => one.address?.as_link_addr().copied(),
        false => None,
    });
    found.unwrap_or_else(|| panic!("no interface {interface}"))
}
