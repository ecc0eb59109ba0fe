//! One attempt of a probe of any type.

mod exec;
mod http;
mod icmp;
mod sctp;
mod tcp;
mod tls;
mod udp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_core::model::{Probe, ProbeTarget};

pub use self::sctp::has_sctp;
use crate::outcome::{ProbeError, ProbeOutcome, ProbeResult};

/// Runs one attempt, for at most `timeout`; a program may wait for a slot before. Placeholders are already replaced.
pub async fn attempt(probe: &Probe, target: ProbeTarget, timeout: Duration) -> ProbeOutcome {
    let _turn = match probe {
        Probe::Exec(_) => Some(exec::turn().await),
        _ => None,
    };
    let began = Instant::now();
    let to = SocketAddr::new(target.address, target.port);
    let done = tokio::time::timeout(timeout, async {
        match probe {
            Probe::Tcp => tcp::attempt(to).await,
            Probe::Sctp => sctp::attempt(to).await,
            Probe::Http(probe) => http::attempt(probe, to).await,
            Probe::Udp(probe) => udp::attempt(probe, to, timeout).await,
            Probe::Icmp => icmp::attempt(target.address).await,
            Probe::Exec(command) => exec::attempt(command).await,
        }
    });
    let (verdict, detail) = match done.await {
        Ok(Ok(detail)) => (ProbeResult::Success, detail),
        Ok(Err(ProbeError::Remote(detail))) => (ProbeResult::Failure, detail),
        Ok(Err(ProbeError::Local(detail))) => (ProbeResult::Skipped, detail),
        Err(_) => (ProbeResult::Failure, format!("{}: no answer within {timeout:?}", what(probe, to))),
    };
    ProbeOutcome { verdict, detail, took: began.elapsed() }
}

/// The operation, for messages.
fn what(probe: &Probe, to: SocketAddr) -> String {
    match probe {
        Probe::Tcp => format!("connect {to}"),
        Probe::Http(probe) => http::what(probe, to),
        Probe::Udp(_) => format!("udp {to}"),
        Probe::Sctp => format!("sctp {to}"),
        Probe::Icmp => format!("ping {}", to.ip()),
        Probe::Exec(command) => format!("run {}", command.first().map_or("", String::as_str)),
    }
}
