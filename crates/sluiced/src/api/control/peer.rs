//! [`Peer`]: the user at the other end of a connection to the control socket.

use std::fmt;
use std::io;

use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};

use crate::api::connections::{Bounds, Listener};

/// The user id of a peer, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::api) struct Peer(pub(super) u32);

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        // Without credentials the peer counts as an unprivileged user.
        Peer(stream.peer_cred().map_or(u32::MAX, |credentials| credentials.uid()))
    }

    /// Whether it is root or the daemon's user, whom members of the group must not exclude.
    pub(super) fn is_privileged(self) -> bool {
        self.0 == 0 || self.0 == geteuid().as_raw()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.0)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Peer = Peer;

    const NAME: &'static str = "the control socket";
    // The reserve has room for root and for the daemon's user.
    const BOUNDS: Bounds = Bounds { all: 1024, each: 256, reserved: 512 };

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        let peer = Peer::of(&stream);
        Ok((stream, peer))
    }

    fn is_privileged(peer: Peer) -> bool {
        peer.is_privileged()
    }
}
