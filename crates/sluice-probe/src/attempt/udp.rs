//! A datagram is answered, or at least not refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sluice_core::model::UdpProbe;
use tokio::net::UdpSocket;
use tokio::time;

use crate::outcome::{Failed, While};

/// How long an ICMP error is waited for where no answer is expected; of shorter timeouts half.
const SILENCE: Duration = Duration::from_millis(200);

pub(super) async fn attempt(probe: &UdpProbe, to: SocketAddr, timeout: Duration) -> Result<String, Failed> {
    let what = || format!("udp {to}");
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.during(what)?;
    socket.connect(to).await.during(what)?;
    socket.send(&probe.send).await.during(what)?;
    let mut answer = vec![0; probe.expect.as_ref().map_or(1, Vec::len).max(1)];
    let Some(expected) = &probe.expect else {
        return match time::timeout(SILENCE.min(timeout / 2), socket.recv(&mut answer)).await {
            Ok(received) => received.during(what).map(|_| format!("{}: answered", what())),
            Err(_) => Ok(format!("{}: not refused", what())),
        };
    };
    let length = socket.recv(&mut answer).await.during(what)?;
    match answer[..length].starts_with(expected) {
        true => Ok(format!("{}: answered", what())),
        false => Err(Failed::There(format!("{}: another answer than expected", what()))),
    }
}
