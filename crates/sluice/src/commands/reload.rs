//! `sluice reload`: applies the changed configuration of the daemon.

use std::process::ExitCode;

use clap::Args;
use sluiced::fatal::{Exit, Fatal};

use crate::options::Common;
use crate::{daemon, output};

/// Reload the configuration of the daemon and wait until it is applied
///
/// Like SIGHUP, but with a result. An invalid file changes nothing: the current configuration stays in force.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReloadCommand {
    /// Print the daemon's response as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice check && sluice reload
  sluice reload --json | jq -r .summary

JSON: { \"at\": time, \"ok\": bool, \"invalid\": bool, \"problems\": [line], \"warnings\": [line], \"summary\": line, \
\"generation\": number }

Exit codes: 0 the file is applied, 78 it is invalid, 1 it is valid but could not be applied (problems are on standard \
error).";

impl ReloadCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        let reply = daemon::ask("reload", &socket, async |client| client.reload().await)?;
        if self.json {
            output::print_json(&reply)?;
        } else {
            reply.problems.iter().chain(&reply.warnings).for_each(|line| output::print_error(line));
            match reply.ok {
                true => output::print(&format!("{}\n", reply.summary))?,
                false => output::print_error(&format!("sluice: reload: {}", reply.summary)),
            }
        }
        Ok(match (reply.ok, reply.invalid) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => ExitCode::from(Exit::Config as u8),
            (false, false) => ExitCode::FAILURE,
        })
    }
}
