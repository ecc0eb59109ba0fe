//! `sluice man`: the manual, from the program itself.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use sluiced::fatal::Fatal;

use crate::output;

/// Print a page of the manual, for man to show
///
/// Needs neither an installed manual nor a network. The pages are those of the packages.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Man {
    /// Page to print
    #[arg(value_enum, default_value_t)]
    page: Page,
}

const AFTER_HELP: &str = "\
Examples:
  sluice man | man -l -
  sluice man sluice.yaml | man -l -
  sluice man sluiced > /usr/local/share/man/man8/sluiced.8";

/// What there is to read.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Page {
    /// This program
    #[default]
    Sluice,
    /// The daemon
    Sluiced,
    /// The configuration file
    #[value(name = "sluice.yaml")]
    SluiceYaml,
}

impl Page {
    /// The page as roff. `cargo xtask man` writes these files.
    fn text(self) -> &'static str {
        match self {
            Page::Sluice => include_str!("../../../../docs/man/sluice.1"),
            Page::Sluiced => include_str!("../../../../docs/man/sluiced.8"),
            Page::SluiceYaml => include_str!("../../../../docs/man/sluice.yaml.5"),
        }
    }
}

impl Man {
    pub(crate) fn run(&self) -> Result<ExitCode, Fatal> {
        output::print(self.page.text())?;
        Ok(ExitCode::SUCCESS)
    }
}
