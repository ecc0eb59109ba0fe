//! Measures the time from the result of a probe to the commit.

use anyhow::{Context, ensure};
use comfy_table::Table;
use sluice_api::Timestamp;
use sluice_testkit::{HealthServer, Lab, eventually};

use super::quantile;
use crate::scale::generate::Case;
use crate::scale::{Scheduler, Source};

/// Ports of the four probed backends; the first backend goes down and up.
const PORTS: [u16; 4] = [8080, 8081, 8082, 8083];

/// Takes one backend of many services down and up, and reads the times from the log of the daemon.
pub(super) fn measure(services: u32, flips: u32, table: &mut Table) -> anyhow::Result<()> {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Random] {
        let case = Case { source: Source::Masquerade, scheduler, services };
        eprintln!("{case}: {flips} flips");
        let lab = Lab::with_backends(1);
        let serve = |port: u16| -> HealthServer { lab.backends[0].serve_health(port) };
        let mut servers: Vec<_> = PORTS.into_iter().map(serve).collect();
        let probed = PORTS.map(|port| format!("10.0.2.11:{port}")).join(", ");
        let daemon = lab.start(&format!(
            "{}  probed: {{ listen: 203.0.113.10:80, backends: [{probed}], \
             health: {{ tcp: {{}}, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }} }}\n",
            case.config(4)
        ));
        for flip in 0..flips {
            if flip % 2 == 0 {
                drop(servers.remove(0));
            } else {
                servers.insert(0, serve(PORTS[0]));
            }
            eventually("the daemon follows", || {
                (daemon.logged("trigger=health") > flip as usize).then_some(())
            });
        }
        let mut times = times(&daemon.log())?;
        ensure!(times.len() >= flips as usize, "{} of {flips} flips in the log", times.len());
        let [median, p99, most] =
            [0.5, 0.99, 1.0].map(|part| format!("{:.1} ms", quantile(&mut times, part)));
        table.add_row([case.to_string(), times.len().to_string(), median, p99, most]);
    }
    Ok(())
}

/// Milliseconds from each logged health change to the commit of the next round.
fn times(log: &str) -> anyhow::Result<Vec<f64>> {
    let (mut told, mut times) = (None, vec![]);
    for line in log.lines() {
        let at = || -> anyhow::Result<Timestamp> {
            line.split_whitespace()
                .next()
                .context("a line begins with its time")?
                .parse()
                .context(line.to_owned())
        };
        if line.contains("probed/") && line.contains("healthy") {
            told = Some(at()?);
        } else if line.contains("trigger=health")
            && let Some(told) = told.take()
        {
            // The line is logged at the end of the round, some time after the switch.
            let after = |what: &str| -> Option<f64> {
                line.split_once(what)?.1.split_whitespace().next()?.parse().ok()
            };
            let (switched, done) =
                after("switched after ").zip(after("done after ")).context("times of a round")?;
            times.push(at()?.duration_since(told).as_secs_f64() * 1e3 - (done - switched));
        }
    }
    Ok(times)
}
