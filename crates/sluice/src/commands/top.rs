//! `sluice top`: a live view of all backends.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;
use sluiced::fatal::{Exit, Fatal};

use crate::options::Common;
use crate::top::shell;

/// Show all backends live: sort, filter, drain
///
/// Refreshes every second. Keys: arrows select, s sorts by the next column, r reverses the order, / filters, d drains and
/// e enables the selected backend (asks first), ? shows help, q quits.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TopCommand {}

const AFTER_HELP: &str = "\
Examples:
  sluice top
  sluice top --socket /run/sluice/sluice.sock
  sluice status --watch     without a terminal for input

Survives a restart of the daemon. NO_COLOR=1 or --color never disables colours.";

impl TopCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            let what = "top: standard input and output must be a terminal";
            return Err(Fatal::new(Exit::Runtime, what, "use `sluice status --watch` instead"));
        }
        shell::run(&common.socket()?, common.colour())?;
        Ok(ExitCode::SUCCESS)
    }
}
