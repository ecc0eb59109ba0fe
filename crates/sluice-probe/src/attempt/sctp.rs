//! `sctp` probe: an association must be accepted.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;

use crate::outcome::{Context, ProbeError};

/// Connects a socket of one association (RFC 6458, section 4), which ends with an ABORT when it is dropped.
pub(super) async fn attempt(to: SocketAddr) -> Result<String, ProbeError> {
    let what = || format!("sctp {to}");
    let socket = match open(Domain::for_address(to)) {
        Err(error) if is_unsupported(&error) => {
            return Err(ProbeError::Local(format!(
                "{}: the kernel has no SCTP sockets (modprobe sctp)",
                what()
            )));
        }
        socket => socket.context(what)?,
    };
    socket.set_linger(Some(Duration::ZERO)).context(what)?;
    // Connecting and waiting for it are the same system calls as for TCP.
    TcpSocket::from_std_stream(TcpStream::from(socket)).connect(to).await.context(what)?;
    Ok(format!("{}: accepted", what()))
}

/// Whether the kernel has SCTP sockets, which it may load a module for.
pub fn has_sctp() -> bool {
    open(Domain::IPV4).err().is_none_or(|error| !is_unsupported(&error))
}

fn open(domain: Domain) -> std::io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::SCTP))
}

fn is_unsupported(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT))
}
