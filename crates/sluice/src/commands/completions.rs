//! `sluice completions`: shell completions.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use sluiced::fatal::Fatal;

use crate::{completion, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CompletionsCommand {
    /// Shell
    shell: Shell,
}

const AFTER_HELP: &str = "\
Examples:
  sluice completions bash > /etc/bash_completion.d/sluice
  sluice completions zsh > ~/.zfunc/_sluice
  sluice completions fish > ~/.config/fish/completions/sluice.fish

For bash, zsh and fish the scripts also complete names of services and backends, if the daemon runs and its control \
socket is accessible.";

impl CompletionsCommand {
    pub(crate) fn run(&self, cli: Command) -> Result<ExitCode, Fatal> {
        output::print(&completion::script(cli, self.shell))?;
        Ok(ExitCode::SUCCESS)
    }
}
