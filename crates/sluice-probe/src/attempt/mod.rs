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
use std::pin::Pin;
use std::time::Duration;

use sluice_core::model::{ExecProbe, Probe, ProbeTarget};
use tokio::time::{self, Instant};

pub use self::sctp::has_sctp;
use crate::outcome::{ProbeError, ProbeOutcome, ProbeResult};
use crate::slots::{EACH, Slots};

/// How late a timeout may be. After that this host is so busy that it may have missed the answer.
const LATE: Duration = Duration::from_millis(100);

/// Maximum length of the text of an outcome in bytes; backends and programs choose a part of it.
const DETAIL: usize = 1000;

/// An attempt that is ready to run.
type Run<'a> = Pin<Box<dyn Future<Output = Result<String, ProbeError>> + Send + 'a>>;

/// Waits for what an attempt needs from this host, which says nothing about the backend.
async fn prepare<'a>(
    probe: &'a Probe,
    to: SocketAddr,
    timeout: Duration,
    slots: &Slots,
) -> Result<Run<'a>, ProbeError> {
    Ok(match probe {
        Probe::Tcp => Box::pin(tcp::attempt(to)),
        Probe::Sctp => Box::pin(sctp::attempt(to)),
        Probe::Http(probe) => {
            let tls = if probe.tls { Some(tls::config(probe.verify).await) } else { None };
            Box::pin(http::attempt(probe, to, tls))
        }
        Probe::Udp(probe) => Box::pin(udp::attempt(probe, to, timeout)),
        Probe::Icmp => Box::pin(icmp::attempt(to.ip())),
        Probe::Exec(program) => Box::pin(exec::attempt(program, exec::start(program, &[], slots).await?)),
    })
}

/// Runs one attempt, for at most `timeout`, after waiting as long for what it needs from this host. Placeholders are already
/// replaced; `slots` are those of the service.
pub async fn attempt(probe: &Probe, target: ProbeTarget, timeout: Duration, slots: &Slots) -> ProbeOutcome {
    let to = SocketAddr::new(target.address, target.port);
    let late = || match probe {
        Probe::Exec(_) => format!("{EACH} programs of this service run, or this host is overloaded"),
        _ => "the trusted certificates of this host are not read yet".to_owned(),
    };
    finish(prepare(probe, to, timeout, slots), timeout, || what(probe, to), late).await
}

/// Runs a program without capabilities, with these variables in its environment and nothing else, for at most `timeout`, after
/// waiting as long for a slot. Then its process group is killed.
pub async fn run_program(
    command: &[String],
    environment: &[(&'static str, String)],
    timeout: Duration,
    slots: &Slots,
) -> ProbeOutcome {
    let program = ExecProbe { command: command.to_vec(), keep_capabilities: false };
    let prepared = async {
        let started = exec::start(&program, environment, slots).await?;
        Ok(Box::pin(exec::attempt(&program, started)) as Run<'_>)
    };
    let late = || "an earlier one still runs, or this host is overloaded".to_owned();
    finish(prepared, timeout, || exec::what(&program), late).await
}

/// Runs what is prepared; `what` names the operation, and `late` is the reason if the preparation takes too long.
async fn finish<'a>(
    prepared: impl Future<Output = Result<Run<'a>, ProbeError>>,
    timeout: Duration,
    what: impl Fn() -> String,
    late: impl Fn() -> String,
) -> ProbeOutcome {
    let skipped = |detail: String| {
        let (verdict, detail) = (ProbeResult::Skipped, shortened(detail));
        ProbeOutcome { verdict, detail, took: Duration::ZERO }
    };
    let run = match time::timeout(timeout, prepared).await {
        Ok(Ok(run)) => run,
        Ok(Err(ProbeError::Remote(detail) | ProbeError::Local(detail))) => return skipped(detail),
        Err(_) => {
            return skipped(format!("{}: not started within {timeout:?}: {}", what(), late()));
        }
    };
    let began = Instant::now();
    let done = time::timeout(timeout, run);
    let (done, took) = (done.await, began.elapsed());
    let (verdict, detail) = match done {
        Ok(Ok(detail)) => (ProbeResult::Success, detail),
        Ok(Err(ProbeError::Remote(detail))) => (ProbeResult::Failure, detail),
        Ok(Err(ProbeError::Local(detail))) => (ProbeResult::Skipped, detail),
        Err(_) => {
            let detail = format!("{}: no answer within {timeout:?}", what());
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
        Probe::Exec(program) => exec::what(program),
    }
}
