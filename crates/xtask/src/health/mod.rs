//! `cargo xtask health`: measures the time from a probe to the kernel, and the cost of probing.

mod flips;
mod probes;

use clap::Args;

use crate::scale::figures;

/// Measure the time from a probe to the kernel, and the CPU and memory of probing
///
/// Runs the daemon in network namespaces. Run `cargo build --release --bins` first, then
/// `cargo run --release -p xtask -- health`.
#[derive(Args)]
pub(crate) struct Health {
    /// Numbers of other services
    #[arg(long, value_delimiter = ',', default_value = "10,10000,50000",
          value_parser = clap::value_parser!(u32).range(1..=250_000))]
    services: Vec<u32>,

    /// Number of times that the backend goes down and up
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    flips: u32,

    /// Backends that are probed every two seconds, a multiple of four
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(4..=60_000))]
    probed: u32,

    /// Duration of the measurement in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(4..))]
    seconds: u32,
}

impl Health {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut table = figures::table(&["outcome to commit", "flips", "median", "p99", "max"], 1);
        for &services in &self.services {
            flips::measure(services, self.flips, &mut table)?;
        }
        println!("{table}\n");
        println!("{}", probes::measure(self.probed, self.seconds)?);
        Ok(())
    }
}

/// A quantile of the values.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
