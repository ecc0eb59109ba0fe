//! `sluice man`: the manual pages, embedded in the program.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use sluiced::fatal::Fatal;

use crate::output;

/// Print a manual page as roff
///
/// The pages are the same as those in the packages.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ManCommand {
    /// Page to print
    #[arg(value_enum, default_value_t)]
    page: ManPage,
}

const AFTER_HELP: &str = "\
Examples:
  sluice man | man -l -
  sluice man sluice.yaml | man -l -
  sluice man sluiced > /usr/local/share/man/man8/sluiced.8";

/// The manual pages.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ManPage {
    /// This program
    #[default]
    Sluice,
    /// The daemon
    Sluiced,
    /// The configuration file
    #[value(name = "sluice.yaml")]
    SluiceYaml,
}

impl ManPage {
    /// The page as roff. `cargo xtask man` writes these files.
    fn text(self) -> &'static str {
        match self {
            ManPage::Sluice => include_str!("../../../../docs/man/sluice.1"),
            ManPage::Sluiced => include_str!("../../../../docs/man/sluiced.8"),
            ManPage::SluiceYaml => include_str!("../../../../docs/man/sluice.yaml.5"),
        }
    }
}

impl ManCommand {
    pub(crate) fn run(&self) -> Result<ExitCode, Fatal> {
        output::print(self.page.text())?;
        Ok(ExitCode::SUCCESS)
    }
}
