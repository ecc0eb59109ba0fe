//! `cargo xtask health`: how soon the kernel follows a probe's outcome, and what probing costs.

mod flips;
mod probes;

use clap::Args;

use crate::scale::figures;

/// Time the way from a probe's outcome to the kernel, and weigh the probing of many backends
///
/// Runs the daemon itself, in network namespaces. Take `cargo build --release --bins`, then
/// `cargo run --release -p xtask -- health`.
#[derive(Args)]
pub(crate) struct Health {
    /// Numbers of services beside the one whose backend goes and comes
    #[arg(long, value_delimiter = ',', default_value = "10,10000,50000",
          value_parser = clap::value_parser!(u32).range(1..=250_000))]
    services: Vec<u32>,

    /// How often that backend goes and comes
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    flips: u32,

    /// Backends that are probed every two seconds, a multiple of four
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(4..=60_000))]
    probed: u32,

    /// Seconds to watch that
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(4..))]
    seconds: u32,
}

impl Health {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut table = figures::table(&["outcome to commit", "flips", "median", "p99", "most"], 1);
        for &services in &self.services {
            flips::measure(services, self.flips, &mut table)?;
        }
        println!("{table}\n");
        println!("{}", probes::measure(self.probed, self.seconds)?);
        Ok(())
    }
}

/// The value that so many parts of all are not larger than.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
