//! `cargo xtask scale`: measures a cold apply against `nft -f` of the same ruleset, and the memory of the daemon.

mod bars;
mod change;
pub(crate) mod figures;
pub(crate) mod generate;
mod memory;
pub(crate) mod once;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use sluice_core::render::render;
use tempfile::NamedTempFile;

use change::{Changes, Took as ChangeTook};
use figures::Figures;
use generate::Case;
use memory::Memory;
use once::Took;

/// Measure a cold apply against `nft -f` of the same ruleset, and the memory of the daemon
///
/// Each measurement runs in its own process and network namespace, sluice and nft alternating. Prints
/// medians, and which targets are met. Run `cargo build --release --bins` first, then
/// `cargo run --release -p xtask -- scale`.
#[derive(Args)]
pub(crate) struct Scale {
    /// Numbers of services
    #[arg(long, value_delimiter = ',', default_value = "5000,10000,20000,50000",
          value_parser = clap::value_parser!(u32).range(1..=250_000))]
    services: Vec<u32>,

    /// Schedulers
    #[arg(long, value_enum, value_delimiter = ',', default_value = "random,round-robin,source-hash")]
    scheduler: Vec<Scheduler>,

    /// Values of `source`; `preserve` only with the largest number of services
    #[arg(long, value_enum, value_delimiter = ',', default_value = "masquerade,preserve")]
    source: Vec<Source>,

    /// Backends per service
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    backends: u32,

    /// Repetitions
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

/// The number of services to which the cost of a change is compared.
const FEW: u32 = 10;

/// Schedulers of measured services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
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

/// Sources of measured services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Source {
    Masquerade,
    Preserve,
}

impl Source {
    /// As in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Source::Masquerade => "masquerade",
            Source::Preserve => "preserve",
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
        for case in self.cases() {
            self.measure(case, &mut figures)?;
        }
        let largest = self.services.iter().copied().max().context("no number of services")?;
        let mut changes = Changes::default();
        for case in self.cases().into_iter().filter(|case| case.source == Source::Masquerade) {
            self.change(Case { services: FEW, ..case }, &mut changes)?;
            self.change(case, &mut changes)?;
        }
        eprintln!("daemon");
        let heaviest =
            Case { source: Source::Masquerade, scheduler: Scheduler::RoundRobin, services: largest };
        let memory = Memory::of_daemon(&heaviest.config(self.backends))?;
        println!(
            "{}\n\n{}\n\n{}\n\n{}",
            figures.table(),
            changes.table(),
            memory.table(heaviest),
            bars::table(&figures, &changes, memory, heaviest)
        );
        Ok(())
    }

    fn cases(&self) -> Vec<Case> {
        let largest = self.services.iter().max();
        let mut cases = Vec::new();
        for &source in &self.source {
            let measured = |services: &&u32| source == Source::Masquerade || Some(*services) == largest;
            for &scheduler in &self.scheduler {
                let services = self.services.iter().filter(measured);
                cases.extend(services.map(|&services| Case { source, scheduler, services }));
            }
        }
        cases
    }

    /// The cost of a change of one backend, measured once per case.
    fn change(&self, case: Case, changes: &mut Changes) -> anyhow::Result<()> {
        if !changes.has(case) {
            eprintln!("{case}: one backend");
            let config = file(&case.config(self.backends))?;
            changes.add(case, isolated::<ChangeTook>("--change", config.path())?);
        }
        Ok(())
    }

    fn measure(&self, case: Case, figures: &mut Figures) -> anyhow::Result<()> {
        let config = file(&case.config(self.backends))?;
        let services = once::load(config.path())?.config.services;
        let ruleset = file(&render(&services, None).table.to_string())?;
        drop(services);
        for round in 1..=self.repeat {
            eprint!("\r{case}: {round}/{} ", self.repeat);
            let took: Took = isolated("--config", config.path())?;
            let nft: f64 = isolated("--nft", ruleset.path())?;
            figures.add(case, took, nft);
        }
        eprintln!();
        Ok(())
    }
}

fn file(text: &str) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::new().context("make a temporary file")?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", file.path().display()))?;
    Ok(file)
}

/// The result of `xtask scale-once` in a new network namespace.
fn isolated<T: serde::de::DeserializeOwned>(what: &str, file: &Path) -> anyhow::Result<T> {
    let xtask = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.arg("--net").arg(xtask).args(["scale-once", what]).arg(file);
    let output = command.stderr(Stdio::inherit()).output().context("run unshare")?;
    if !output.status.success() {
        bail!("unshare --net xtask scale-once {what}: {} (root?)", output.status);
    }
    ensure!(!output.stdout.is_empty(), "scale-once printed nothing");
    serde_json::from_slice(&output.stdout).context("read what scale-once printed")
}
