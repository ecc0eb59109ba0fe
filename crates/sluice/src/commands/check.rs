//! `sluice check`: validates a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sluice_api::pluralize;
use sluice_config::Problem;
use sluice_core::model::Config;
use sluiced::fatal::{Exit, Fatal};

use crate::options::Common;
use crate::progress::Progress;
use crate::{config, output};

/// Validate a configuration and report all problems
///
/// Reads the file and its includes with the code of the daemon. Needs no privileges.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckCommand {
    /// Configuration file
    file: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice check
  sluice check sluice.yaml && sluice reload
  sluice check --json sluice.yaml | jq -r '.problems[]'

JSON: { \"ok\": bool, \"problems\": [line], \"warnings\": [line] }

Exit codes: 0 the file is valid, 78 it is invalid.";

#[derive(Serialize)]
struct CheckReport {
    ok: bool,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl CheckCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let path = common.config(self.file.as_ref());
        if self.json {
            let text = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect();
            let progress = Progress::of("reading the configuration");
            let loaded = sluice_config::load(path);
            drop(progress);
            let (ok, problems, warnings) = match loaded {
                Ok(loaded) => (true, vec![], text(loaded.warnings)),
                Err(problems) => (false, text(problems), vec![]),
            };
            output::print_json(&CheckReport { ok, problems, warnings })?;
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(Exit::Config as u8) });
        }
        let loaded = config::load(path)?;
        output::print(&format!("{}: ok: {}\n", path.display(), counted(&loaded.config)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `2 services, 8 backends`.
fn counted(config: &Config) -> String {
    let backends = config.services.values().map(|service| service.backends.len()).sum();
    format!("{}, {}", pluralize(config.services.len(), "service"), pluralize(backends, "backend"))
}

/// A report with everything in it.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let report =
        CheckReport { ok: false, problems: vec!["problem".into()], warnings: vec!["warning".into()] };
    vec![serde_json::to_value(report).unwrap()]
}
