//! `sluice top`: all backends, live.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;
use sluiced::fatal::{Exit, Fatal};

use crate::args::Common;
use crate::top::shell;

/// Show all backends live: sort, filter, drain
///
/// Every second. Keys: arrows select, s sorts by the next column, r the other way round, / filters, d drains and e enables
/// the selected backend after a question, ? explains, q leaves.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Top {}

const AFTER_HELP: &str = "\
Examples:
  sluice top
  sluice top --socket /run/sluice/sluice.sock
  sluice status --watch     where there is no terminal to type on

Survives a restart of the daemon. NO_COLOR=1 leaves out the colours.";

impl Top {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            let what = "top: standard input and output are not both a terminal";
            return Err(Fatal::new(Exit::Runtime, what, "use `sluice status --watch`, which needs none"));
        }
        shell::run(&common.socket()?)?;
        Ok(ExitCode::SUCCESS)
    }
}
