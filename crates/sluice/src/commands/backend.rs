//! `sluice drain`, `enable`, `disable` and `weight`: overrides of backends.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use sluice_api::{Admin, BackendStatus, OverrideChange, OverrideReply, OverrideRequest, Status, pluralize};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::text::safe;
use crate::{daemon, output};

/// Time between two looks at the connections of draining backends.
const PAUSE: Duration = Duration::from_millis(500);

/// A backend: SERVICE/BACKEND; or SERVICE/*, all of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendArg {
    service: String,
    backend: String,
}

impl fmt::Display for BackendArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

impl FromStr for BackendArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, backend) =
            text.split_once('/').ok_or("write SERVICE/BACKEND, such as web/10.0.2.11:8080")?;
        Ok(BackendArg { service: service.to_owned(), backend: backend.to_owned() })
    }
}

/// Arguments of `enable` and `reset`, and some of those of `drain` and `disable`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OverrideCommand {
    /// Backends, named as in `sluice status`; SERVICE/* is all of a service
    #[arg(required = true, value_name = "SERVICE/BACKEND")]
    backends: Vec<BackendArg>,

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
    reason: Option<String>,
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

    #[command(flatten)]
    reason: Reason,

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

fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if seconds > 0 => Ok(Duration::from_secs(u64::from(number) * seconds)),
        _ => Err("write a number with s, m or h, such as 90s".to_owned()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  sluice drain web/10.0.2.11:8080         no new connections; existing ones continue
  sluice drain --wait --timeout 5m --reason 'kernel update' web/web1
  sluice disable web/web1 web/web2        as if they were not in the file
  sluice enable 'web/*'                   undo drain or disable; a weight override stays
  sluice reset web/web1                   remove all overrides of a backend
  sluice weight web/web1 5                override the weight in the file
  sluice weight web/web1 default

Backends are changed one by one: if one fails, the others are still changed, and the exit code is 1.

Changes take effect immediately, and `sluice status` shows them. They survive reloads and restarts of the daemon, and a \
reboot if the `state` directory does. A change that cannot be saved prints a warning.

JSON: one object per line, as the backends of `sluice status`, and `not_remembered`; docs/cli-json.md has all keys.";

impl DrainCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let change = OverrideChange::Admin(Admin::Drain);
        let (drained, exit) = self.backends.change(common, change, self.reason.reason.as_deref())?;
        if self.wait && !wait(common, &drained, self.timeout)? {
            return Ok(ExitCode::from(3));
        }
        Ok(exit)
    }
}

impl DisableCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let change = OverrideChange::Admin(Admin::Disabled);
        Ok(self.backends.change(common, change, self.reason.reason.as_deref())?.1)
    }
}

impl OverrideCommand {
    pub(crate) fn run(&self, common: &Common, change: OverrideChange) -> Result<ExitCode, Fatal> {
        Ok(self.change(common, change, None)?.1)
    }

    /// Changes backends one by one. Returns those that were changed.
    fn change(
        &self,
        common: &Common,
        change: OverrideChange,
        reason: Option<&str>,
    ) -> Result<(Vec<BackendArg>, ExitCode), Fatal> {
        let (mut changed, mut exit) = (vec![], ExitCode::SUCCESS);
        for backend in named(common, &self.backends)? {
            match self::change(common, &backend, change, reason, self.json) {
                Ok(()) => changed.push(backend),
                Err(refused) => {
                    output::print_error(&format!("sluice: {refused}"));
                    exit = ExitCode::FAILURE;
                }
            }
        }
        Ok((changed, exit))
    }
}

impl WeightCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let reason = self.reason.reason.as_deref();
        for backend in named(common, std::slice::from_ref(&self.backend))? {
            change(common, &backend, OverrideChange::Weight(self.weight.0), reason, self.json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The same with all backends in place of `*`.
fn named(common: &Common, backends: &[BackendArg]) -> Result<Vec<BackendArg>, Fatal> {
    if backends.iter().all(|backend| backend.backend != "*") {
        return Ok(backends.to_vec());
    }
    let status = daemon::ask("status", &common.socket()?, async |client| client.status().await)?;
    let mut named = vec![];
    for BackendArg { service, backend } in backends {
        let all = status.services.iter().find(|known| known.name == *service && backend == "*");
        match all {
            Some(all) => named.extend(
                all.backends
                    .iter()
                    .map(|known| BackendArg { service: service.clone(), backend: known.name.clone() }),
            ),
            // The daemon says what is wrong with it.
            None => named.push(BackendArg { service: service.clone(), backend: backend.clone() }),
        }
    }
    Ok(named)
}

/// Waits until backends have no live connections; `false`: some still have after this time.
fn wait(common: &Common, backends: &[BackendArg], timeout: Option<Duration>) -> Result<bool, Fatal> {
    let (socket, began) = (common.socket()?, Instant::now());
    loop {
        let status = daemon::ask("drain: live connections", &socket, async |client| client.status().await)?;
        let left: Vec<(&BackendArg, Option<u64>)> = backends
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
fn active(status: &Status, backend: &BackendArg) -> Option<Option<u64>> {
    let service = status.services.iter().find(|service| service.name == backend.service)?;
    Some(service.backends.iter().find(|known| known.name == backend.backend)?.active)
}

fn change(
    common: &Common,
    named: &BackendArg,
    change: OverrideChange,
    reason: Option<&str>,
    json: bool,
) -> Result<(), Fatal> {
    let socket = common.socket()?;
    let BackendArg { service, backend } = named.clone();
    let what = named.to_string();
    let request = OverrideRequest { service, backend, change, reason: reason.map(str::to_owned) };
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
