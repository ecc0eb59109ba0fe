//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use sluice_api::{Admin, OverrideChange};
use sluiced::fatal::Fatal;

use crate::commands::{
    apply, backend, check, cleanup, completions, connections, digest, doctor, events, explain, man, node,
    overrides, plan, ready, reload, render, status, top,
};
use crate::options::Common;

/// Layer-4 load balancer based on nftables NAT: checks configurations, shows plans, and controls sluiced
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  sluice check sluice.yaml     validate a file
  sluice plan sluice.yaml      show what it would change in the kernel
  sluice reload                apply the changed file
  sluice status                show services and backends
  sluice top                   show backends live

Exit codes: 0 ok, 1 failed, 2 usage, 3 changes (plan), findings (doctor), problems (status --check), another digest (digest --compare), services that are not \
ready (ready) or connections left (drain --wait, leave --wait), 69 the kernel lacks a feature, 77 CAP_NET_ADMIN is missing, 78 the configuration is invalid.";

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckCommand),
    Digest(digest::DigestCommand),
    Plan(plan::PlanCommand),
    Apply(apply::ApplyCommand),
    Render(render::RenderCommand),
    Status(status::StatusCommand),
    Ready(ready::ReadyCommand),
    Top(top::TopCommand),
    Connections(connections::ConnectionsCommand),
    Reload(reload::ReloadCommand),
    /// Stop sending new connections to backends; existing ones continue
    Drain(backend::DrainCommand),
    /// Undo drain or disable: backends get new connections again; a weight override stays
    Enable(backend::OverrideCommand),
    /// Take backends out of service, as if they were not in the file
    Disable(backend::DisableCommand),
    /// Override the weight of backends
    Weight(backend::WeightCommand),
    /// Remove all overrides of backends: admin state and weight are those of the file again
    Reset(backend::OverrideCommand),
    Overrides(overrides::OverridesCommand),
    Leave(node::LeaveCommand),
    Join(node::JoinCommand),
    Events(events::EventsCommand),
    Explain(explain::ExplainCommand),
    Doctor(doctor::DoctorCommand),
    Cleanup(cleanup::CleanupCommand),
    Completions(completions::CompletionsCommand),
    Man(man::ManCommand),
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Fatal> {
        let common = &self.common;
        match self.command {
            Command::Check(check) => check.run(common),
            Command::Digest(digest) => digest.run(common),
            Command::Plan(plan) => plan.run(common),
            Command::Apply(apply) => apply.run(common),
            Command::Render(render) => render.run(common),
            Command::Status(status) => status.run(common),
            Command::Ready(ready) => ready.run(common),
            Command::Top(top) => top.run(common),
            Command::Connections(connections) => connections.run(common),
            Command::Reload(reload) => reload.run(common),
            Command::Drain(drain) => drain.run(common),
            Command::Enable(backends) => {
                backends.run(common, "enable", OverrideChange::Admin(Admin::Enabled))
            }
            Command::Disable(disable) => disable.run(common),
            Command::Weight(weight) => weight.run(common),
            Command::Reset(backends) => backends.run(common, "reset", OverrideChange::Reset {}),
            Command::Overrides(overrides) => overrides.run(common),
            Command::Leave(leave) => leave.run(common),
            Command::Join(join) => join.run(common),
            Command::Events(events) => events.run(common),
            Command::Explain(explain) => explain.run(common),
            Command::Doctor(doctor) => doctor.run(common),
            Command::Cleanup(cleanup) => cleanup.run(common),
            Command::Completions(completions) => completions.run(Cli::command()),
            Command::Man(man) => man.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn command_line_by_clap_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_every_command_is_as_reviewed() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        let mut help = cli.render_long_help().to_string();
        for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let text = command.render_long_help().to_string();
            assert!(text.contains("\nExamples:\n"), "no examples in the help of {}", command.get_name());
            help += &format!("\n{:=<100}\n\n{text}", "");
        }
        assert_golden("help.txt", &help);
    }
}
