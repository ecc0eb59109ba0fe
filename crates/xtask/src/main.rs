//! Tasks of the repository: `cargo xtask` lists them.

#![forbid(unsafe_code)]

mod bench;
mod discovery;
mod golden;
mod health;
mod man;
mod scale;
mod scrape;
mod security;
mod stall;

use clap::Parser;

/// Tasks of the repository
#[derive(Parser)]
enum Xtask {
    #[command(subcommand)]
    Bench(bench::Bench),
    Discovery(discovery::Measurement),
    Golden(golden::Golden),
    Health(health::Health),
    Man(man::Man),
    Scale(scale::Scale),
    Scrape(scrape::Scrape),
    Security(security::Security),
    Stall(stall::Stall),
    #[command(hide = true)]
    ScaleOnce(scale::once::ScaleOnce),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Bench(bench) => bench.run(),
        Xtask::Discovery(measurement) => measurement.run(),
        Xtask::Golden(golden) => golden.run(),
        Xtask::Health(health) => health.run(),
        Xtask::Man(man) => man.run(),
        Xtask::Scale(scale) => scale.run(),
        Xtask::Scrape(scrape) => scrape.run(),
        Xtask::Security(security) => security.run(),
        Xtask::Stall(stall) => stall.run(),
        Xtask::ScaleOnce(once) => once.run(),
    }
}
