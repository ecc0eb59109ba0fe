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

/// Layer-4 load balancer that programs the kernel's NAT: checks configurations, shows plans, and talks to
/// sluiced
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
  sluice check sluice.yaml     is the file right?
  sluice plan sluice.yaml      what would it change in the kernel?
  sluice reload                have the daemon take its file
  sluice status                who serves what
  sluice top                   the same, live

Exit codes: 0 ok, 1 failed, 2 usage, 3 changes (plan) or findings (doctor), 69 the kernel lacks a feature, 77 CAP_NET_ADMIN \
is missing, 78 the configuration is bad.";

const GLOBAL: &str = "Global options";

/// Options of all commands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file where no other is named [default: /etc/sluice/sluice.yaml]
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

    /// The control socket of the daemon: `--socket`, or that of the configuration file. A default file that cannot be read
    /// says nothing of it.
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
    Check(check::Check),
    Plan(plan::Plan),
    Apply(apply::Apply),
    Render(render::Render),
    Status(status::Status),
    Top(top::Top),
    Connections(connections::Connections),
    Reload(reload::Reload),
    /// Give backends no new connections; those they have go on
    Drain(backend::Backends),
    /// Take back a drain or disable: backends get new connections again, with the weight that they have
    Enable(backend::Backends),
    /// Treat backends as if they were not in the file
    Disable(backend::Backends),
    /// Give a backend another weight than the file's
    Weight(backend::Weight),
    Explain(explain::Explain),
    Doctor(doctor::Doctor),
    Cleanup(cleanup::Cleanup),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Does what was asked.
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
