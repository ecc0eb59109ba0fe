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
    /// Only the files of these crates
    #[arg(value_name = "CRATE", value_parser = PACKAGES)]
    packages: Vec<String>,
}

/// Crates with golden files: in unit tests, and in `tests/golden*`.
const PACKAGES: [&str; 3] = ["sluice-config", "sluice-core", "sluice"];

/// Crates with golden files in test targets.
const TARGETS: [&str; 2] = ["sluice-config", "sluice-core"];

impl Golden {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--quiet", "--lib", "--bins"]);
        let all = || PACKAGES.map(String::from).to_vec();
        let packages = if self.packages.is_empty() { all() } else { self.packages.clone() };
        cargo.args(packages.iter().flat_map(|package| ["--package", package]));
        // Cargo rejects a pattern without a matching target.
        if packages.iter().any(|package| TARGETS.contains(&package.as_str())) {
            cargo.args(["--test", "golden*"]);
        }
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
