//! `udp` probe: a datagram must be answered, or at least not refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sluice_core::model::UdpProbe;
use tokio::net::UdpSocket;
use tokio::time;

use crate::outcome::{Context, ProbeError};

/// How long to wait for an ICMP error if no reply is expected; half the timeout if that is shorter.
const SILENCE: Duration = Duration::from_millis(200);

pub(super) async fn attempt(
    probe: &UdpProbe,
    to: SocketAddr,
    timeout: Duration,
) -> Result<String, ProbeError> {
    let what = || format!("udp {to}");
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.context(what)?;
    socket.connect(to).await.context(what)?;
    socket.send(&probe.send).await.context(what)?;
    let mut answer = vec![0; probe.expect.as_ref().map_or(1, Vec::len).max(1)];
    let Some(expected) = &probe.expect else {
        return match time::timeout(SILENCE.min(timeout / 2), socket.recv(&mut answer)).await {
            Ok(received) => received.context(what).map(|_| format!("{}: answered", what())),
            Err(_) => Ok(format!("{}: not refused", what())),
        };
    };
    let length = socket.recv(&mut answer).await.context(what)?;
    match answer[..length].starts_with(expected) {
        true => Ok(format!("{}: answered", what())),
        false => Err(ProbeError::Remote(format!("{}: unexpected reply", what()))),
    }
}
