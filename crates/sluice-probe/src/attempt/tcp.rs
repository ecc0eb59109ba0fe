//! A connection is accepted.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::outcome::{Failed, While};

pub(super) async fn attempt(to: SocketAddr) -> Result<String, Failed> {
    connect(to).await.map(|_| format!("connect {to}: accepted"))
}

/// A connection that leaves nothing behind when it is dropped: it ends with a reset, so that no port of ours waits
/// for stray packets.
pub(super) async fn connect(to: SocketAddr) -> Result<TcpStream, Failed> {
    let what = || format!("connect {to}");
    let stream = TcpStream::connect(to).await.during(what)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).during(what)?;
    Ok(stream)
}
