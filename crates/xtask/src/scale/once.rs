//! A single measurement, in the network namespace of this process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use sluice_config::Loaded;
use sluice_core::plan::diff;
use sluice_core::render::render;
use sluice_netlink::Netlink;
use sluice_nft::{Dataplane, Step};

use super::change;

/// Apply a configuration, or load a ruleset with nft, and print how long it took
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScaleOnce {
    #[arg(long)]
    config: Option<PathBuf>,

    #[arg(long)]
    nft: Option<PathBuf>,

    #[arg(long)]
    change: Option<PathBuf>,
}

/// Milliseconds of the parts of a cold apply.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    /// From text to model; not part of the apply.
    pub(crate) load: f64,
    pub(crate) render: f64,
    pub(crate) diff: f64,
    pub(crate) commit: f64,
}

impl Took {
    /// From rendering to the commit.
    pub(crate) fn apply(self) -> f64 {
        self.render + self.diff + self.commit
    }
}

impl ScaleOnce {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let json = match (&self.config, &self.nft, &self.change) {
            (Some(config), ..) => serde_json::to_string(&cold_apply(config)?)?,
            (_, Some(ruleset), _) => serde_json::to_string(&nft(ruleset)?)?,
            (.., Some(config)) => {
                serde_json::to_string(&change::measure(Arc::unwrap_or_clone(load(config)?.config.services))?)?
            }
            (None, None, None) => unreachable!("clap requires one"),
        };
        println!("{json}");
        Ok(())
    }
}

fn cold_apply(config: &Path) -> anyhow::Result<Took> {
    let mut netlink = Netlink::open()?;
    ensure!(netlink.read()?.table.is_none(), "the namespace is not fresh");

    let (loaded, load) = timed(|| self::load(config));
    let services = loaded?.config.services;
    let (rendered, render) = timed(|| render(&services, None));
    let (plan, diff) = timed(|| diff(None, Some(&rendered.table), &rendered.owners));
    ensure!(plan.batches.len() == 1, "a cold apply is one commit");
    let steps = plan.batches[0].steps();
    let (committed, commit) = timed(|| netlink.commit(&steps, None));
    committed?;

    // The kernel must not destroy the table during the next measurement.
    netlink.commit(&[Step::DeleteTable], None)?;
    Ok(Took { load, render, diff, commit })
}

fn nft(ruleset: &Path) -> anyhow::Result<f64> {
    let (status, took) = timed(|| Command::new("nft").arg("-f").arg(ruleset).status());
    ensure!(status?.success(), "nft -f failed");
    Netlink::open()?.commit(&[Step::DeleteTable], None)?;
    Ok(took)
}

/// Loads a configuration without problems.
pub(crate) fn load(config: &Path) -> anyhow::Result<Loaded> {
    sluice_config::load(config).map_err(|problems| anyhow!("{}", problems[0]))
}

/// Returns the duration of a call in milliseconds.
fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = run();
    (result, 1000.0 * start.elapsed().as_secs_f64())
}
