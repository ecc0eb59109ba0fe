//! `sluice plan`: what would change in the kernel, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sluice_api::{FileText, IncludeTexts, PlanReport, PlanRequest};
use sluice_config::{SourceFile, Texts};
use sluice_core::model::{EffectiveServices, Services};
use sluice_core::pool;
use sluice_nft::Dataplane;
use sluiced::daemon::planning;
use sluiced::fatal::Fatal;
use sluiced::reconcile;

use crate::options::Common;
use crate::progress::Progress;
use crate::text::Paint;
use crate::{config, daemon, kernel, output};

/// Show what would change in the kernel, and why
///
/// Compares the configuration with what the kernel holds now. Changes nothing. Where sluiced runs, it makes the plan
/// itself, with the health of backends, overrides, ramps and load as they are: what a reload of this file would do.
/// Elsewhere the plan is that of a first start, and needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanCommand {
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
  sluice plan && echo in sync

JSON: { \"added\": number, \"changed\": number, \"removed\": number, \"batches\": [batch], \"text\": text for people }
  batch: { \"purpose\": prepare, switch or retire, \"steps\": [step] }, a commit each
  step: { \"step\": nft command, \"service\": name or null, \"why\" }

Exit codes: 0 nothing to do, 3 changes.";

impl PlanCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let (config, texts) = config::load_texts(common.config(self.file.as_ref()))?;
        let socket = common.socket_or(&config.control.socket);
        let request = request(texts);
        let report =
            match daemon::ask_if_running("plan", socket, async |client| client.plan(Some(&request)).await)? {
                Some(report) => report,
                None => offline(&config.services)?,
            };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&coloured(&report.text, common.colour()))?;
        }
        Ok(ExitCode::from(if report.batches.is_empty() { 0 } else { 3 }))
    }
}

/// The plan of a first start.
fn offline(services: &Services) -> Result<PlanReport, Fatal> {
    let progress = Progress::of("plan: reading the kernel");
    let snapshot = kernel::look()?.read().map_err(kernel::unread)?;
    drop(progress);
    let _progress = Progress::of("plan: comparing");
    let networks = kernel::networks()?;
    let at_start = pool::at_start(services);
    let desired = EffectiveServices::new(services, &at_start).with_networks(&networks);
    Ok(planning::shown(&reconcile::plan(snapshot.table.as_ref(), desired)))
}

/// The request: the text of the files, which the daemon may not be able to read.
fn request(Texts { main, included }: Texts) -> PlanRequest {
    let text =
        |SourceFile { path, text }: SourceFile| FileText { path: path.to_string_lossy().into_owned(), text };
    let includes = included
        .into_iter()
        .map(|(pattern, files)| IncludeTexts { pattern, files: files.into_iter().map(text).collect() });
    PlanRequest { file: text(main), includes: includes.collect() }
}

/// Colours the lines of a plan by their gutter, and dims the reasons.
fn coloured(text: &str, colour: bool) -> String {
    let line = |line: &str| {
        let paint = match line.chars().next() {
            Some('+') => Paint::Good,
            Some('-') => Paint::Bad,
            Some('~') => Paint::Warn,
            _ => return format!("{line}\n"),
        };
        match line.split_once("  # ") {
            Some((step, why)) => {
                format!("{}  {}\n", paint.on(step, colour), Paint::Dim.on(&format!("# {why}"), colour))
            }
            None => format!("{}\n", paint.on(line, colour)),
        }
    };
    text.lines().map(line).collect()
}

/// A report with everything in it.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    use sluice_api::{PlanBatch, PlanStep};
    use sluice_core::plan::Purpose;
    let step = |service: Option<&str>| PlanStep {
        step: "add chain inet sluice miss".into(),
        service: service.map(Into::into),
        why: "not in the kernel".into(),
    };
    let batch = |purpose: Purpose| PlanBatch {
        purpose: purpose.as_str().to_owned(),
        steps: vec![step(None), step(Some("web"))],
    };
    let batches = [Purpose::Prepare, Purpose::Switch, Purpose::Retire].map(batch).into();
    let report = PlanReport { added: 1, changed: 2, removed: 3, batches, text: "nothing to do\n".into() };
    vec![serde_json::to_value(report).unwrap()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_is_coloured_by_its_gutter() {
        let text = "1 to add\n\ncommit 1: add\n+ add chain x  # web: not in the kernel\n+     a : b\n";
        assert_eq!(coloured(text, false), text);
        let told = "1 to add\n\ncommit 1: add\n\x1b[32m+ add chain x\x1b[0m  \x1b[2m# web: not in the kernel\x1b[0m\n\
                    \x1b[32m+     a : b\x1b[0m\n";
        assert_eq!(coloured(text, true), told);
    }
}
