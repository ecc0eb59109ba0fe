//! `sluice completions`: shell completions.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;
use sluiced::fatal::Fatal;

use crate::output;

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
  sluice completions fish > ~/.config/fish/completions/sluice.fish";

impl CompletionsCommand {
    pub(crate) fn run(&self, mut command: clap::Command) -> Result<ExitCode, Fatal> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "sluice", &mut script);
        output::print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
