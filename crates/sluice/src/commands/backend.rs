//! `sluice drain`, `enable`, `disable` and `weight`: overrides of backends.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use sluice_api::{Admin, BackendStatus, OverrideChange, OverrideReply, OverrideRequest, pluralize};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::text::safe;
use crate::{daemon, output};

/// A backend: SERVICE/BACKEND.
#[derive(Clone, Debug)]
pub(crate) struct BackendArg {
    service: String,
    backend: String,
}

impl FromStr for BackendArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, backend) =
            text.split_once('/').ok_or("write SERVICE/BACKEND, such as web/10.0.2.11:8080")?;
        Ok(BackendArg { service: service.to_owned(), backend: backend.to_owned() })
    }
}

/// Arguments of `drain`, `enable` and `disable`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OverrideCommand {
    /// Backends, named as in `sluice status`
    #[arg(required = true, value_name = "SERVICE/BACKEND")]
    backends: Vec<BackendArg>,

    /// Print the new state of the backends as JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Arguments of `weight`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WeightCommand {
    /// Backend, named as in `sluice status`
    #[arg(value_name = "SERVICE/BACKEND")]
    backend: BackendArg,

    /// 0 to 256, or `default` for the weight in the file
    #[arg(value_name = "WEIGHT", value_parser = weight)]
    weight: WeightArg,

    /// Print the new state of the backend as JSON, on one line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
struct WeightArg(Option<u16>);

fn weight(text: &str) -> Result<WeightArg, String> {
    match text.parse() {
        _ if text == "default" => Ok(WeightArg(None)),
        Ok(weight @ 0..=256) => Ok(WeightArg(Some(weight))),
        _ => Err("write a whole number from 0 to 256, or default".to_owned()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  sluice drain web/10.0.2.11:8080         no new connections; existing ones continue
  sluice disable web/web1 web/web2        as if they were not in the file
  sluice enable web/web1                  undo drain or disable; a weight override stays
  sluice weight web/web1 5                override the weight in the file
  sluice weight web/web1 default

Backends are changed one by one: if one fails, the others are still changed, and the exit code is 1.

Changes take effect immediately, and `sluice status` shows them. They survive reloads and restarts of the daemon, and a \
reboot if the `state` directory does. A change that cannot be saved prints a warning.

JSON: one object per line, as the backends of `sluice status`, and `not_remembered`; docs/cli-json.md has all keys.";

impl OverrideCommand {
    pub(crate) fn run(&self, common: &Common, admin: Admin) -> Result<ExitCode, Fatal> {
        let mut exit = ExitCode::SUCCESS;
        for backend in &self.backends {
            if let Err(refused) = change(common, backend, OverrideChange::Admin(admin), self.json) {
                output::print_error(&format!("sluice: {refused}"));
                exit = ExitCode::FAILURE;
            }
        }
        Ok(exit)
    }
}

impl WeightCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        change(common, &self.backend, OverrideChange::Weight(self.weight.0), self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn change(common: &Common, named: &BackendArg, change: OverrideChange, json: bool) -> Result<(), Fatal> {
    let socket = common.socket()?;
    let BackendArg { service, backend } = named.clone();
    let what = format!("{service}/{backend}");
    let request = OverrideRequest { service, backend, change };
    let reply: OverrideReply =
        daemon::ask(&what, &socket, async |client| client.set_override(&request).await)?;
    if let Some(why) = &reply.not_remembered {
        output::print_error(&format!(
            "warning: {what}: the change is not saved, a restart of sluiced loses it: {}",
            safe(why)
        ));
    }
    if json {
        return output::print_json_line(&reply).map(drop);
    }
    let BackendStatus { name, admin, weight, share, active, .. } = &reply.backend;
    let left = active.map(|active| format!(", {}", pluralize(active as usize, "live connection")));
    output::print(&format!(
        "{}/{name}: {}, weight {weight}, {:.1} % of new connections{}\n",
        named.service,
        admin.as_str(),
        100.0 * share,
        left.unwrap_or_default()
    ))
}
