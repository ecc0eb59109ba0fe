//! `tcp` probe: a connection must be accepted.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::outcome::{Context, ProbeError};

pub(super) async fn attempt(to: SocketAddr) -> Result<String, ProbeError> {
    connect(to).await.map(|_| format!("connect {to}: accepted"))
}

/// Connects with SO_LINGER 0: dropping the connection sends a reset, so that no local port stays in TIME_WAIT.
pub(super) async fn connect(to: SocketAddr) -> Result<TcpStream, ProbeError> {
    let what = || format!("connect {to}");
    let stream = TcpStream::connect(to).await.context(what)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).context(what)?;
    Ok(stream)
}
