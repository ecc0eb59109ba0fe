//! `cargo xtask bench`: measures the cost per packet and per connection.

mod accounting;
mod bed;
mod comparison;
mod edit;
mod first_packet;
mod foreign;
mod pool;
mod shape;
mod spread;

use clap::Subcommand;

/// Measure the cost per packet and per connection
#[derive(Subcommand)]
pub(crate) enum Bench {
    Accounting(accounting::BenchAccounting),
    FirstPacket(first_packet::FirstPacket),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Bench::Accounting(bench) => bench.run(),
            Bench::FirstPacket(bench) => bench.run(),
        }
    }
}
