//! `cargo xtask golden`: compares or updates golden files.

use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

/// Compare outputs of tests with golden files, or update the files
#[derive(Args)]
pub(crate) struct Golden {
    /// Write the golden files; then review `git diff`
    #[arg(long)]
    update: bool,
    /// Only those of these crates
    #[arg(value_name = "CRATE", value_parser = PACKAGES)]
    packages: Vec<String>,
}

/// Crates whose tests read goldens: unit tests, and those in `tests/golden*`.
const PACKAGES: [&str; 3] = ["sluice-config", "sluice-core", "sluice"];

impl Golden {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--quiet", "--lib", "--bins", "--test", "golden*"]);
        let all = || PACKAGES.map(String::from).to_vec();
        let packages = if self.packages.is_empty() { all() } else { self.packages.clone() };
        cargo.args(packages.iter().flat_map(|package| ["--package", package]));
        match self.update {
            true => cargo.env("SLUICE_UPDATE_GOLDENS", "1"),
            false => cargo.env_remove("SLUICE_UPDATE_GOLDENS"),
        };
        let status = cargo.status().context("run cargo test")?;
        if !status.success() {
            bail!("cargo test: {status}");
        }
        Ok(())
    }
}
