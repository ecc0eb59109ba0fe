//! `sluice`: checks configurations, shows plans and rulesets, and talks to the daemon.

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

use clap::Parser;
use sluiced::fatal::Fatal;

use crate::args::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|fatal| {
        match &fatal {
            Fatal::Config(_) => output::complain(&fatal.to_string()),
            Fatal::Failed { .. } => output::complain(&format!("sluice: {fatal}")),
        }
        ExitCode::from(fatal.exit() as u8)
    })
}
