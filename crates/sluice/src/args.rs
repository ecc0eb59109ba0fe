//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sluice_api::{Admin, DEFAULT_SOCKET};
use sluiced::fatal::Fatal;

use crate::commands::{
    apply, backend, check, cleanup, completions, connections, doctor, explain, man, plan, reload, render,
    status, top,
};

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

Exit codes: 0 ok, 1 failed, 2 usage, 3 changes (plan) or findings (doctor), 69 the kernel lacks a feature, 77 CAP_NET_ADMIN \
is missing, 78 the configuration is invalid.";

const GLOBAL: &str = "Global options";

/// Options of all commands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file [default: /etc/sluice/sluice.yaml]
    #[arg(short, long, value_name = "FILE", env = "SLUICE_CONFIG", hide_env_values = true)]
    #[arg(global = true, help_heading = GLOBAL)]
    config: Option<PathBuf>,

    /// Control socket of the daemon [default: `control.socket` of the configuration file]
    #[arg(long, value_name = "PATH", env = "SLUICE_SOCKET", hide_env_values = true)]
    #[arg(global = true, help_heading = GLOBAL)]
    socket: Option<PathBuf>,
}

impl Common {
    /// The configuration file: the command's own argument, `--config`, or the default.
    pub(crate) fn config<'a>(&'a self, file: Option<&'a PathBuf>) -> &'a Path {
        file.or(self.config.as_ref()).map_or(Path::new(sluice_config::DEFAULT_PATH), PathBuf::as_path)
    }

    /// The control socket of the daemon: `--socket`, or that of the configuration file. An unreadable default file is
    /// ignored.
    pub(crate) fn socket(&self) -> Result<PathBuf, Fatal> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let named = match (sluice_config::control_socket(self.config(None)), &self.config) {
            (Err(problem), Some(_)) => return Err(Fatal::Config(vec![problem])),
            (named, _) => named.ok().flatten(),
        };
        Ok(named.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)))
    }

    /// The control socket: `--socket`, or this one.
    pub(crate) fn socket_or<'a>(&'a self, default: &'a Path) -> &'a Path {
        self.socket.as_deref().unwrap_or(default)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckCommand),
    Plan(plan::PlanCommand),
    Apply(apply::ApplyCommand),
    Render(render::RenderCommand),
    Status(status::StatusCommand),
    Top(top::TopCommand),
    Connections(connections::ConnectionsCommand),
    Reload(reload::ReloadCommand),
    /// Stop sending new connections to backends; existing ones continue
    Drain(backend::OverrideCommand),
    /// Undo drain or disable: backends get new connections again; a weight override stays
    Enable(backend::OverrideCommand),
    /// Take backends out of service, as if they were not in the file
    Disable(backend::OverrideCommand),
    /// Override the weight of a backend
    Weight(backend::WeightCommand),
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
            Command::Plan(plan) => plan.run(common),
            Command::Apply(apply) => apply.run(common),
            Command::Render(render) => render.run(common),
            Command::Status(status) => status.run(common),
            Command::Top(top) => top.run(common),
            Command::Connections(connections) => connections.run(common),
            Command::Reload(reload) => reload.run(common),
            Command::Drain(backends) => backends.run(common, Admin::Drain),
            Command::Enable(backends) => backends.run(common, Admin::Enabled),
            Command::Disable(backends) => backends.run(common, Admin::Disabled),
            Command::Weight(weight) => weight.run(common),
            Command::Explain(explain) => explain.run(common),
            Command::Doctor(doctor) => doctor.run(common),
            Command::Cleanup(cleanup) => cleanup.run(common),
            Command::Completions(completions) => completions.run(),
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

    #[test]
    fn socket_is_that_of_the_file_unless_one_is_named_also_of_a_bad_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sluice.yaml");
        let common =
            |socket: Option<&str>| Common { config: Some(file.clone()), socket: socket.map(Into::into) };
        let socket = |text: &str| {
            std::fs::write(&file, text).unwrap();
            common(None).socket().map_err(|fatal| fatal.exit())
        };
        assert_eq!(socket("control: {socket: /a}"), Ok("/a".into()));
        assert_eq!(socket("services: 7\ncontrol: {socket: /a, x: 1}"), Ok("/a".into()));
        assert_eq!(socket("services: {}"), Ok(DEFAULT_SOCKET.into()));
        assert_eq!(socket("{"), Err(sluiced::fatal::Exit::Config));
        assert_eq!(common(Some("/b")).socket().unwrap(), Path::new("/b"));
        let none = Common { config: Some(dir.path().join("none")), socket: None };
        assert_eq!(none.socket().unwrap_err().exit(), sluiced::fatal::Exit::Config);
    }

    #[test]
    fn config_named_by_the_command_beats_the_option_which_beats_the_default() {
        let common = |config: Option<&str>| Common { config: config.map(PathBuf::from), socket: None };
        let own = PathBuf::from("own.yaml");
        assert_eq!(common(Some("option.yaml")).config(Some(&own)), own);
        assert_eq!(common(Some("option.yaml")).config(None), Path::new("option.yaml"));
        assert_eq!(common(None).config(None), Path::new(sluice_config::DEFAULT_PATH));
    }
}
