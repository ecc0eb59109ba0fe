//! `sluice plan`: what would change in the kernel, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sluice_core::diff::diff;
use sluice_core::model::InForce;
use sluice_core::plan::{self, Change};
use sluice_core::render::render;
use sluice_core::report::report;
use sluice_nft::Dataplane;
use sluiced::fatal::Fatal;

use crate::args::Common;
use crate::progress::Progress;
use crate::{config, kernel, output};

/// Show what would change in the kernel, and why
///
/// Compares the configuration with what the kernel holds now. Changes nothing. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Plan {
    /// Configuration file
    file: Option<PathBuf>,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice plan
  sluice plan new.yaml
  sluice plan --json | jq -r '.batches[].steps[].step'

JSON: { \"added\": number, \"changed\": number, \"removed\": number, \"batches\": [batch] }
  batch: { \"purpose\": prepare, switch or retire, \"steps\": [step] }, a commit each
  step: { \"step\": nft command, \"service\": name or null, \"why\" }

Exit codes: 0 nothing to do, 3 changes.";

#[derive(Serialize)]
struct Report {
    added: usize,
    changed: usize,
    removed: usize,
    batches: Vec<Batch>,
}

#[derive(Serialize)]
struct Batch {
    purpose: &'static str,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: String,
    service: Option<String>,
    why: String,
}

impl Plan {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let loaded = config::load(common.config(self.file.as_ref()))?;
        let progress = Progress::of("plan: reading the kernel");
        let snapshot = kernel::look()?.read().map_err(kernel::unread)?;
        drop(progress);
        let progress = Progress::of("plan: comparing");
        let networks = kernel::networks()?;
        let services = InForce::from(&loaded.config.services).on(&networks);
        let desired = render(services, snapshot.table.as_ref());
        let plan = diff(snapshot.table.as_ref(), Some(&desired.table), &desired.origins);
        drop(progress);
        if self.json {
            output::print_json(&json(&plan))?;
        } else {
            output::print(&report(&plan, output::colour()).to_string())?;
        }
        Ok(ExitCode::from(if plan.is_empty() { 0 } else { 3 }))
    }
}

fn json(plan: &plan::Plan) -> Report {
    let summary = plan.summary();
    let batch = |batch: &plan::Batch| Batch {
        purpose: batch.purpose.as_str(),
        steps: batch.changes.iter().map(step).collect(),
    };
    Report {
        added: summary.added,
        changed: summary.changed,
        removed: summary.removed,
        batches: plan.batches.iter().map(batch).collect(),
    }
}

fn step(change: &Change) -> Step {
    Step {
        step: change.step.to_string(),
        service: change.reason.service.as_ref().map(ToString::to_string),
        why: change.reason.to_string(),
    }
}

/// A report with everything in it.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    use sluice_core::plan::Purpose;
    let step = |service: Option<&str>| Step {
        step: "add chain inet sluice miss".into(),
        service: service.map(Into::into),
        why: "not in the kernel".into(),
    };
    let batch =
        |purpose: Purpose| Batch { purpose: purpose.as_str(), steps: vec![step(None), step(Some("web"))] };
    let batches = [Purpose::Prepare, Purpose::Switch, Purpose::Retire].map(batch).into();
    vec![serde_json::to_value(Report { added: 1, changed: 2, removed: 3, batches }).unwrap()]
}
