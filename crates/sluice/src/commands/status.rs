//! `sluice status`: services, backends, and the table in the kernel.

use std::process::ExitCode;

use clap::Args;
use sluice_api::{Client, Timestamp};
use sluiced::fatal::{Exit, Fatal};

use crate::options::Common;
use crate::status_text::Look;
use crate::watch::shell::{self, Form};
use crate::{daemon, output, status_text};

/// Show services, backends and the state of the kernel
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct StatusCommand {
    /// Only this service
    service: Option<String>,

    /// Refresh every second, with new connections per second and recent events, until Ctrl-C
    #[arg(short, long)]
    watch: bool,

    /// Print the daemon's response as JSON; with --watch one object per line
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice status
  sluice status web
  sluice status --watch web
  sluice status --json | jq '.services[].backends[] | {name, connections_total}'

A service is up, has no backends (no backend is eligible: new connections are refused), or is disabled. A backend is \
eligible if it gets new connections.

JSON: docs/cli-json.md has all keys. To a file or pipe, --watch prints one block per second, separated by blank lines.";

impl StatusCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        if self.watch {
            shell::run(&Client::new(&socket), Form::of(self.json), |status| self.chosen(status))?;
            return Ok(ExitCode::SUCCESS);
        }
        let status = daemon::ask("status", &socket, async |client| client.status().await)?;
        let status = self.chosen(status)?;
        if self.json {
            output::print_json(&status)?;
        } else {
            let look = Look { now: Timestamp::now(), colour: output::colour(), rates: None };
            output::print(&status_text::render(&status, look))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What was asked for.
    fn chosen(&self, mut status: sluice_api::Status) -> Result<sluice_api::Status, Fatal> {
        if let Some(name) = &self.service {
            select(&mut status, name)?;
        }
        Ok(status)
    }
}

/// Leaves only the service of that name.
fn select(status: &mut sluice_api::Status, name: &str) -> Result<(), Fatal> {
    let known = status.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    status.services.retain(|service| service.name == name);
    if status.services.is_empty() {
        let hint = if known.is_empty() { "there are none".to_owned() } else { format!("there are: {known}") };
        return Err(Fatal::new(Exit::Runtime, format!("status: no service {name}"), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use crate::status_text::tests::status;

    #[test]
    fn status_of_one_service_in_json_leaves_out_the_others_only() {
        let mut one = status();
        select(&mut one, "dns").unwrap();
        assert_golden("status-dns.json", &(serde_json::to_string_pretty(&one).unwrap() + "\n"));
    }

    #[test]
    fn status_of_an_unknown_service_names_the_known_ones() {
        let fatal = select(&mut status(), "www").unwrap_err();
        assert_eq!(fatal.to_string(), "status: no service www (there are: dns, old, web)");
        assert_eq!(fatal.exit(), Exit::Runtime);
    }
}
