//! `cargo xtask bench`: what packets pay.

mod bed;
mod comparison;
mod edit;
mod first_packet;
mod foreign;
mod pool;
mod shape;
mod spread;

use clap::Subcommand;

/// Measure what packets pay
#[derive(Subcommand)]
pub(crate) enum Bench {
    FirstPacket(first_packet::FirstPacket),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Bench::FirstPacket(bench) => bench.run(),
        }
    }
}
