//! `cargo xtask scale`: how long a cold apply takes, against `nft -f` of the same ruleset.

mod figures;
mod generate;
pub(crate) mod once;

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use sluice_core::render::{Layout, render};

use figures::Figures;
use once::Took;

/// Time a cold apply against `nft -f` of the same ruleset
///
/// Each measurement runs in a process and a network namespace of its own, sluice and nft in turn. Prints
/// medians. Take `cargo run --release -p xtask -- scale`.
#[derive(Args)]
pub(crate) struct Scale {
    /// Numbers of services
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,20000")]
    services: Vec<u32>,

    /// Schedulers
    #[arg(long, value_enum, value_delimiter = ',', default_value = "random,round-robin")]
    scheduler: Vec<Scheduler>,

    /// Backends of each service
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    backends: u32,

    /// How often to measure each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

/// Schedulers that services can have here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scheduler {
    Random,
    RoundRobin,
    SourceHash,
}

impl Scheduler {
    /// As in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheduler::Random => "random",
            Scheduler::RoundRobin => "round-robin",
            Scheduler::SourceHash => "source-hash",
        }
    }
}

impl Scale {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if cfg!(debug_assertions) {
            eprintln!(
                "warning: a debug build measures the debug build (cargo run --release -p xtask -- scale)"
            );
        }
        let mut figures = Figures::default();
        for &scheduler in &self.scheduler {
            for &services in &self.services {
                self.measure(scheduler, services, &mut figures)?;
            }
        }
        print!("{}", figures.table());
        Ok(())
    }

    fn measure(&self, scheduler: Scheduler, services: u32, figures: &mut Figures) -> anyhow::Result<()> {
        let mut config = tempfile::NamedTempFile::new().context("make a temporary file")?;
        config.write_all(generate::config(scheduler, services, self.backends).as_bytes())?;
        let mut ruleset = tempfile::NamedTempFile::new().context("make a temporary file")?;
        let loaded = once::load(config.path())?;
        write!(ruleset, "{}", render(&loaded.config.services, &Layout::default()).table)?;
        drop(loaded);
        for round in 1..=self.repeat {
            eprint!("\r{} {services}: {round}/{} ", scheduler.as_str(), self.repeat);
            let path = config.path().display();
            let took: Took = serde_json::from_str(&isolated(&["--config", &path.to_string()])?)?;
            let path = ruleset.path().display();
            let nft: f64 = serde_json::from_str(&isolated(&["--nft", &path.to_string()])?)?;
            figures.add(scheduler, services, took, nft);
        }
        eprintln!();
        Ok(())
    }
}

/// Runs `xtask scale-once` in a network namespace that ends with it.
fn isolated(args: &[&str]) -> anyhow::Result<String> {
    let xtask = std::env::current_exe().context("find this program")?;
    let output = Command::new("unshare")
        .arg("--net")
        .arg(xtask)
        .arg("scale-once")
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .context("run unshare")?;
    if !output.status.success() {
        bail!("unshare --net xtask scale-once {}: {} (root?)", args.join(" "), output.status);
    }
    let text = String::from_utf8(output.stdout).context("read what scale-once printed")?;
    ensure!(!text.is_empty(), "scale-once printed nothing");
    Ok(text)
}
