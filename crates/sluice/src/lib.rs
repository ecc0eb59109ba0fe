//! `sluice`: checks configurations, shows plans and rulesets, and talks to the daemon.
//!
//! A library, so that the manual and the completions can be made from its command line.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod config;
mod daemon;
mod doctor;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod json_docs;
mod kernel;
mod output;
mod progress;
mod rates;
mod signals;
mod status_text;
mod text;
mod top;
mod watch;

use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser};
use sluiced::fatal::Fatal;

use crate::args::Cli;

/// Does what the arguments of the process ask for.
pub fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|fatal| {
        match &fatal {
            Fatal::Config(_) => output::complain(&fatal.to_string()),
            Fatal::Failed { .. } => output::complain(&format!("sluice: {fatal}")),
        }
        ExitCode::from(fatal.exit() as u8)
    })
}

/// The command line, for what is made from it.
pub fn command() -> Command {
    Cli::command()
}
