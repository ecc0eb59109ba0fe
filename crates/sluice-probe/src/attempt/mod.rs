//! One attempt of a probe of any type.

mod exec;
mod http;
mod icmp;
mod limited;
mod sctp;
mod tcp;
mod tls;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use sluice_core::model::{Probe, ProbeTarget};
use tokio::time::{self, Instant};

pub use self::sctp::has_sctp;
use crate::outcome::{ProbeError, ProbeOutcome, ProbeResult};
use crate::slots::{EACH, Slot, Slots};

/// How late a timeout may be. After that this host is so busy that it may have missed the answer.
const LATE: Duration = Duration::from_millis(100);

/// Maximum length of the text of an outcome in bytes; backends and programs choose a part of it.
const DETAIL: usize = 1000;

/// What an attempt needs from this host. Waiting for it says nothing about the backend.
#[derive(Default)]
struct Resources {
    /// For programs.
    slot: Option<Slot>,
    /// For HTTPS.
    tls: Option<Arc<ClientConfig>>,
}

impl Resources {
    async fn of(probe: &Probe, slots: &Slots) -> Self {
        match probe {
            Probe::Exec(_) => Resources { slot: Some(slots.take().await), tls: None },
            Probe::Http(probe) if probe.tls => {
                Resources { slot: None, tls: Some(tls::config(probe.verify).await) }
            }
            _ => Resources::default(),
        }
    }
}

/// Runs one attempt, for at most `timeout`, after waiting as long for what it needs from this host. Placeholders are already
/// replaced; `slots` are those of the service.
pub async fn attempt(probe: &Probe, target: ProbeTarget, timeout: Duration, slots: &Slots) -> ProbeOutcome {
    let to = SocketAddr::new(target.address, target.port);
    let Ok(resources) = time::timeout(timeout, Resources::of(probe, slots)).await else {
        let reason = match probe {
            Probe::Exec(_) => {
                format!("{EACH} programs of this service, or too many of all services, still run")
            }
            _ => "the trusted certificates of this host are not read yet".to_owned(),
        };
        let detail = format!("{}: not started within {timeout:?}: {reason}", what(probe, to));
        return ProbeOutcome { verdict: ProbeResult::Skipped, detail, took: Duration::ZERO };
    };
    let began = Instant::now();
    let Resources { slot, tls } = resources;
    let done = time::timeout(timeout, async {
        match probe {
            Probe::Tcp => tcp::attempt(to).await,
            Probe::Sctp => sctp::attempt(to).await,
            Probe::Http(probe) => http::attempt(probe, to, tls).await,
            Probe::Udp(probe) => udp::attempt(probe, to, timeout).await,
            Probe::Icmp => icmp::attempt(target.address).await,
            Probe::Exec(program) => exec::attempt(program, slot).await,
        }
    });
    let (done, took) = (done.await, began.elapsed());
    let (verdict, detail) = match done {
        Ok(Ok(detail)) => (ProbeResult::Success, detail),
        Ok(Err(ProbeError::Remote(detail))) => (ProbeResult::Failure, detail),
        Ok(Err(ProbeError::Local(detail))) => (ProbeResult::Skipped, detail),
        Err(_) => {
            let detail = format!("{}: no answer within {timeout:?}", what(probe, to));
            match took.saturating_sub(timeout) {
                late if late > LATE => {
                    let detail =
                        format!("{detail}, but this host is overloaded: it looked {late:.1?} too late");
                    (ProbeResult::Skipped, detail)
                }
                _ => (ProbeResult::Failure, detail),
            }
        }
    };
    ProbeOutcome { verdict, detail: shortened(detail), took }
}

fn shortened(mut detail: String) -> String {
    if detail.len() > DETAIL {
        detail.truncate(detail.floor_char_boundary(DETAIL));
        detail.push_str("...");
    }
    detail
}

/// The operation, for messages.
fn what(probe: &Probe, to: SocketAddr) -> String {
    match probe {
        Probe::Tcp => format!("connect {to}"),
        Probe::Http(probe) => http::what(probe, to),
        Probe::Udp(_) => format!("udp {to}"),
        Probe::Sctp => format!("sctp {to}"),
        Probe::Icmp => format!("ping {}", to.ip()),
        Probe::Exec(program) => format!("run {}", program.command.first().map_or("", String::as_str)),
    }
}
