//! `sluice`: validates configurations, shows plans and rulesets, and controls the daemon.
//!
//! It is a library so that xtask can generate the manual and completions from the command line.

#![forbid(unsafe_code)]

mod args;
mod commands;
pub mod completion;
mod config;
mod daemon;
mod doctor;
pub mod explain;
#[cfg(test)]
mod golden;
mod iptables;
#[cfg(test)]
mod json_docs;
mod kernel;
mod options;
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

/// Runs the command of the process arguments.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    if arguments.next().as_deref() == Some(completion::names::COMMAND) {
        completion::names::print(&command(), &arguments.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    Cli::parse().run().unwrap_or_else(|fatal| {
        match &fatal {
            Fatal::Config(_) => output::print_error(&fatal.to_string()),
            Fatal::Failed { .. } => output::print_error(&format!("sluice: {fatal}")),
        }
        ExitCode::from(fatal.exit() as u8)
    })
}

/// The command line, for generators.
pub fn command() -> Command {
    Cli::command()
}
