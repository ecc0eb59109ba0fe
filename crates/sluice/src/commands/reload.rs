//! `sluice reload`: have the daemon read its configuration again.

use std::process::ExitCode;

use clap::Args;
use sluiced::fatal::Fatal;

use crate::args::Common;
use crate::{daemon, output};

/// Have the daemon take its configuration file, and wait until the kernel has it
///
/// As SIGHUP, but with an answer. A bad file changes nothing: the configuration in force stays.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Reload {
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice check && sluice reload
  sluice reload --json | jq -r .summary

JSON: { \"at\": time, \"ok\": bool, \"problems\": [line], \"warnings\": [line], \"summary\": line, \
\"generation\": number }

Exit codes: 0 the file is in force, 1 it is not (the problems are on standard error).";

impl Reload {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        let reply = daemon::ask("reload", &socket, async |client| client.reload().await)?;
        if self.json {
            output::print_json(&reply)?;
        } else {
            reply.problems.iter().chain(&reply.warnings).for_each(|line| output::complain(line));
            match reply.ok {
                true => output::print(&format!("{}\n", reply.summary))?,
                false => output::complain(&format!("sluice: reload: {}", reply.summary)),
            }
        }
        Ok(if reply.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
