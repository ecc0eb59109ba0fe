//! [`Common`]: options of all commands.

use std::path::{Path, PathBuf};

use clap::{Args, ColorChoice};
use sluice_api::DEFAULT_SOCKET;
use sluice_config::Problem;
use sluiced::fatal::{Exit, Fatal};

use crate::output;

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

    /// When to colour the output: auto is on terminals, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    #[arg(global = true, help_heading = GLOBAL)]
    color: ColorChoice,
}

/// The file may name the control socket, but cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("find the control socket: {0}")]
struct UnknownSocket(Problem);

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
            (Err(problem), Some(_)) => {
                return Err(Fatal::new(Exit::Config, UnknownSocket(problem), "or name it with --socket"));
            }
            (named, _) => named.ok().flatten(),
        };
        Ok(named.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)))
    }

    /// Whether to colour standard output.
    pub(crate) fn colour(&self) -> bool {
        match self.color {
            ColorChoice::Auto => output::takes_colour(),
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        }
    }

    /// The control socket: `--socket`, or this one.
    pub(crate) fn socket_or<'a>(&'a self, default: &'a Path) -> &'a Path {
        self.socket.as_deref().unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_that_of_the_file_unless_one_is_named_also_of_a_bad_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sluice.yaml");
        let common = |socket: Option<&str>| Common {
            config: Some(file.clone()),
            socket: socket.map(Into::into),
            color: ColorChoice::Auto,
        };
        let socket = |text: &str| {
            std::fs::write(&file, text).unwrap();
            common(None).socket().map_err(|fatal| fatal.exit())
        };
        assert_eq!(socket("control: {socket: /a}"), Ok("/a".into()));
        assert_eq!(socket("services: 7\ncontrol: {socket: /a, x: 1}"), Ok("/a".into()));
        assert_eq!(socket("services: {}"), Ok(DEFAULT_SOCKET.into()));
        assert_eq!(socket("{"), Err(Exit::Config));
        let way_out = common(None).socket().unwrap_err().to_string();
        assert!(
            way_out.starts_with("find the control socket: ") && way_out.contains(": error: "),
            "{way_out}"
        );
        assert!(way_out.ends_with("(or name it with --socket)") && way_out.lines().count() == 1, "{way_out}");
        assert_eq!(common(Some("/b")).socket().unwrap(), Path::new("/b"));
        let none = Common { config: Some(dir.path().join("none")), socket: None, color: ColorChoice::Auto };
        assert_eq!(none.socket().unwrap_err().exit(), Exit::Config);
    }

    #[test]
    fn config_named_by_the_command_beats_the_option_which_beats_the_default() {
        let common = |config: Option<&str>| Common {
            config: config.map(PathBuf::from),
            socket: None,
            color: ColorChoice::Auto,
        };
        let own = PathBuf::from("own.yaml");
        assert_eq!(common(Some("option.yaml")).config(Some(&own)), own);
        assert_eq!(common(Some("option.yaml")).config(None), Path::new("option.yaml"));
        assert_eq!(common(None).config(None), Path::new(sluice_config::DEFAULT_PATH));
    }
}
