//! `sluice drain`, `enable`, `disable`, `weight` and `reset`: overrides of backends.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use sluice_api::{
    Admin, BackendPath, BackendStatus, ChangedBackend, OverrideChange, OverridesRequest, Status, pluralize,
};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::text::{safe, time};
use crate::{daemon, output};

/// Time between two looks at the connections of draining backends.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Parses SERVICE/BACKEND, or SERVICE/*, all backends of a service.
fn path(text: &str) -> Result<BackendPath, String> {
    let wrong = || format!("write SERVICE/BACKEND, or {text}/* for all backends of a service");
    let (service, backend) = text.split_once('/').ok_or_else(wrong)?;
    Ok(BackendPath { service: service.to_owned(), backend: backend.to_owned() })
}

/// Arguments of `enable` and `reset`, and some of those of `drain` and `disable`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OverrideCommand {
    /// Backends, named as in `sluice status`; SERVICE/* is all of a service
    #[arg(required = true, value_name = "SERVICE/BACKEND", value_parser = path)]
    backends: Vec<BackendPath>,

    /// Print the new state of the backends as JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Arguments of `disable`.
#[derive(Debug, Args)]
pub(crate) struct DisableCommand {
    #[command(flatten)]
    backends: OverrideCommand,

    #[command(flatten)]
    reason: Reason,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainCommand {
    #[command(flatten)]
    backends: OverrideCommand,

    #[command(flatten)]
    reason: Reason,

    /// Wait until the backends have no live connections
    #[arg(long)]
    wait: bool,

    /// Maximum time to wait, such as 90s, 5m or 1h: then the exit code is 3
    #[arg(long, requires = "wait", value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

/// Why an operator changes something.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reason {
    /// Reason, shown by `sluice status` and `sluice overrides`
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

/// Arguments of `weight`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WeightCommand {
    /// Backends, named as in `sluice status`; SERVICE/* is all of a service
    #[arg(required = true, value_name = "SERVICE/BACKEND", value_parser = path)]
    backends: Vec<BackendPath>,

    /// 0 to 256, or `default` for the weight in the file
    #[arg(value_name = "WEIGHT", value_parser = weight)]
    weight: WeightArg,

    #[command(flatten)]
    reason: Reason,

    /// Print the new state of the backends as JSON, one object per line
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
  sluice drain --wait --timeout 5m --reason 'kernel update' web/web1
  sluice disable web/web1 web/web2        as if they were not in the file
  sluice enable 'web/*'                   undo drain or disable; a weight override stays
  sluice reset web/web1                   remove all overrides of a backend
  sluice weight web/web1 web/web2 5       override the weight in the file
  sluice weight web/web1 default

All backends are changed together. If one is unknown, none is changed, and the exit code is 1.

Changes take effect immediately, and `sluice status` shows them. They survive reloads and restarts of the daemon, and a \
reboot if the `state` directory does. A change that cannot be saved prints a warning.

JSON: one object per line, as the backends of `sluice status`, and `not_remembered`; docs/cli-json.md has all keys.";

impl DrainCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let change = OverrideChange::Admin(Admin::Drain);
        let drained = self.backends.change(common, "drain", change, &self.reason)?;
        if self.wait && !wait(common, &drained, self.timeout)? {
            return Ok(ExitCode::from(3));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl DisableCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let change = OverrideChange::Admin(Admin::Disabled);
        self.backends.change(common, "disable", change, &self.reason)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl OverrideCommand {
    /// Applies the change of the command of that name.
    pub(crate) fn run(
        &self,
        common: &Common,
        command: &str,
        change: OverrideChange,
    ) -> Result<ExitCode, Fatal> {
        self.change(common, command, change, &Reason { reason: None })?;
        Ok(ExitCode::SUCCESS)
    }

    fn change(
        &self,
        common: &Common,
        command: &str,
        change: OverrideChange,
        reason: &Reason,
    ) -> Result<Vec<BackendPath>, Fatal> {
        let (backends, reason) = (self.backends.clone(), reason.reason.clone());
        self::change(common, command, OverridesRequest { backends, change, reason }, self.json)
    }
}

impl WeightCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let request = OverridesRequest {
            backends: self.backends.clone(),
            change: OverrideChange::Weight(self.weight.0),
            reason: self.reason.reason.clone(),
        };
        change(common, "weight", request, self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Has the daemon change backends, and prints their new state. Returns those that were changed.
fn change(
    common: &Common,
    command: &str,
    request: OverridesRequest,
    json: bool,
) -> Result<Vec<BackendPath>, Fatal> {
    let socket = common.socket()?;
    let reply = daemon::ask(command, &socket, async |client| client.set_overrides(&request).await)?;
    if let Some(why) = &reply.not_remembered {
        output::print_error(&format!(
            "warning: {command}: the change is not saved, a restart of sluiced loses it: {}",
            safe(why)
        ));
    }
    let path =
        |it: &ChangedBackend| BackendPath { service: it.service.clone(), backend: it.status.name.clone() };
    let changed = reply.backends.iter().map(path).collect();
    if json {
        reply.each().try_for_each(|reply| output::print_json_line(&reply).map(drop))?;
    } else {
        output::print(&reply.backends.iter().map(text).collect::<String>())?;
    }
    Ok(changed)
}

fn text(ChangedBackend { service, status }: &ChangedBackend) -> String {
    let BackendStatus { name, admin, weight, share, active, .. } = status;
    let left = active.map(|active| format!(", {}", pluralize(active as usize, "live connection")));
    format!(
        "{service}/{name}: {}, weight {weight}, {:.1} % of new connections{}\n",
        admin.as_str(),
        100.0 * share,
        left.unwrap_or_default()
    )
}

/// Waits until backends have no live connections; `false`: some still have after this time.
fn wait(common: &Common, backends: &[BackendPath], timeout: Option<Duration>) -> Result<bool, Fatal> {
    let (socket, began) = (common.socket()?, Instant::now());
    loop {
        let status = daemon::ask("drain: live connections", &socket, async |client| client.status().await)?;
        let left: Vec<(&BackendPath, Option<u64>)> = backends
            .iter()
            .filter_map(|backend| Some((backend, active(&status, backend)?)))
            .filter(|(_, active)| *active != Some(0))
            .collect();
        if left.is_empty() {
            return Ok(true);
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            for (backend, active) in left {
                let live = match active {
                    Some(active) => format!("still has {}", pluralize(active as usize, "live connection")),
                    None => "has connections that cannot be counted".to_owned(),
                };
                output::print_error(&format!("sluice: drain: {backend} {live}"));
            }
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}

/// Live connections of a backend, `Some(None)` if they cannot be counted; `None`: it is gone.
fn active(status: &Status, backend: &BackendPath) -> Option<Option<u64>> {
    let service = status.services.iter().find(|service| service.name == backend.service)?;
    Some(service.backends.iter().find(|known| known.name == backend.backend)?.active)
}
