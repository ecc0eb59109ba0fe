//! `sluice drain`, `enable`, `disable` and `weight`: what an operator says of a backend.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use sluice_api::{Admin, BackendStatus, OverrideChange, OverrideReply, OverrideRequest, pluralize};
use sluiced::fatal::Fatal;

use crate::args::Common;
use crate::text::safe;
use crate::{daemon, output};

/// A backend: SERVICE/BACKEND.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    service: String,
    backend: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, backend) =
            text.split_once('/').ok_or("write SERVICE/BACKEND, such as web/10.0.2.11:8080")?;
        Ok(Named { service: service.to_owned(), backend: backend.to_owned() })
    }
}

/// Which backends, and how to show them.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Backends {
    /// Backends, as `sluice status` names them
    #[arg(required = true, value_name = "SERVICE/BACKEND")]
    backends: Vec<Named>,

    /// Print the backends' new state as JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// Which backend, and its weight.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Weight {
    /// Backend, as `sluice status` names it
    #[arg(value_name = "SERVICE/BACKEND")]
    backend: Named,

    /// 0 to 256, or `default` for what the file says
    #[arg(value_name = "WEIGHT", value_parser = weight)]
    weight: Share,

    /// Print the backend's new state as JSON, on one line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
struct Share(Option<u16>);

fn weight(text: &str) -> Result<Share, String> {
    match text.parse() {
        _ if text == "default" => Ok(Share(None)),
        Ok(weight @ 0..=256) => Ok(Share(Some(weight))),
        _ => Err("write a whole number from 0 to 256, or default".to_owned()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  sluice drain web/10.0.2.11:8080         no new connections; those it has go on
  sluice disable web/web1 web/web2        as if they were not in the file
  sluice enable web/web1                  takes back a drain or disable; a weight stays
  sluice weight web/web1 5                instead of the file's weight
  sluice weight web/web1 default

Of several backends each is done by itself: one that is refused keeps no other from being done, and the exit code \
is 1.

What is said here holds at once and is shown by `sluice status`. It survives reloads and restarts of the daemon, and a \
reboot if the `state` directory does; if it cannot be written down, a warning says so.

JSON: an object a line, as the backends of `sluice status`, and `not_remembered`; docs/cli-json.md has all keys.";

impl Backends {
    pub(crate) fn run(&self, common: &Common, admin: Admin) -> Result<ExitCode, Fatal> {
        let mut exit = ExitCode::SUCCESS;
        for backend in &self.backends {
            if let Err(refused) = change(common, backend, OverrideChange::Admin(admin), self.json) {
                output::complain(&format!("sluice: {refused}"));
                exit = ExitCode::FAILURE;
            }
        }
        Ok(exit)
    }
}

impl Weight {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        change(common, &self.backend, OverrideChange::Weight(self.weight.0), self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn change(common: &Common, named: &Named, change: OverrideChange, json: bool) -> Result<(), Fatal> {
    let socket = common.socket()?;
    let Named { service, backend } = named.clone();
    let what = format!("{service}/{backend}");
    let request = OverrideRequest { service, backend, change };
    let reply: OverrideReply =
        daemon::ask(&what, &socket, async |client| client.set_override(&request).await)?;
    if let Some(why) = &reply.not_remembered {
        output::complain(&format!(
            "warning: {what}: a restart of sluiced will not know of this: {}",
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
