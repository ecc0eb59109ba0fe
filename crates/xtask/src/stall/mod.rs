//! `cargo xtask stall`: measures health flips beside things that are slow, stuck or many.

mod burden;
mod flips;

use anyhow::Context;
use clap::Args;
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use self::burden::Burden;
use crate::health::quantile;
use crate::scale::figures;

/// The nice value of the daemon, as in its unit, and of the servers and the clock of the measurement, which stand for other
/// machines and therefore also have a processor on which the daemon does no long work. What burdens the daemon has the usual one.
const PRIORITY: i32 = -10;

/// Measure the time from a probe to the kernel beside slow disks, stuck logs, crowds and storms
///
/// Runs the daemon in network namespaces, once for each burden and twice without one. Needs root and strace(1). Run
/// `cargo build --release --bins` first, then `cargo run --release -p xtask -- stall`.
#[derive(Args)]
pub(crate) struct Stall {
    /// Number of other services
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(200..=50_000))]
    services: u32,

    /// Number of times that the backend goes down or up, for each burden
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..))]
    flips: u32,

    /// Burdens to measure
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Burden::ALL)]
    burdens: Vec<Burden>,
}

impl Stall {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut table =
            figures::table(&["probe to kernel", "flips", "median", "p99", "max", "ratios of these"], 1);
        let mut quiet = None;
        // Processes and threads inherit it.
        set_priority(PRIORITY).context("raise the priority")?;
        for &burden in &self.burdens {
            eprintln!("{burden}");
            let mut times = flips::measure(burden, self.services, self.flips)?;
            let parts = [0.5, 0.99, 1.0].map(|part| quantile(&mut times, part));
            let quiet = quiet.get_or_insert(parts);
            let ratios = [0, 1, 2].map(|n| format!("{:.1}", parts[n] / quiet[n])).join(" ");
            let [median, p99, most] = parts.map(|time| format!("{time:.1} ms"));
            table.add_row([burden.to_string(), times.len().to_string(), median, p99, most, ratios]);
        }
        println!("{table}");
        Ok(())
    }
}

/// Sets the nice value of the calling thread.
fn set_priority(nice: i32) -> rustix::io::Result<()> {
    setpriority_process(Some(gettid()), nice)
}
