//! `sluice __complete WORD...`, for the completion scripts: prints the names of services or backends that the last word
//! can become, one per line. `__complete` is no subcommand of clap, because clap's scripts would complete it.

use std::time::Duration;

use clap::{Arg, Command, Parser};
use sluice_api::{Client, Status};

use crate::options::Common;
use crate::{daemon, output};

/// The first argument of the process.
pub(crate) const COMMAND: &str = "__complete";

/// Maximum time to wait for the daemon: somebody waits at a prompt.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints the names. Prints nothing if there are none, or if the daemon does not answer.
pub(crate) fn print(cli: &Command, words: &[String]) {
    let Some(unfinished) = Unfinished::parse(cli, words) else { return };
    let Ok(Options { common }) = Options::try_parse_from(&unfinished.options) else { return };
    let Ok(socket) = common.socket() else { return };
    let status = async { tokio::time::timeout(PATIENCE, Client::new(socket).status()).await };
    if let Ok(Ok(Ok(status))) = daemon::run(status) {
        let lines: String = unfinished.names(&status).iter().map(|name| format!("{name}\n")).collect();
        let _ = output::print(&lines);
    }
}

/// The commands that take names, separated by spaces.
pub(super) fn commands(cli: &Command) -> String {
    let takes_names = |command: &&Command| command.get_positionals().any(|arg| Names::of(arg).is_some());
    let names: Vec<_> = cli.get_subcommands().filter(takes_names).map(Command::get_name).collect();
    names.join(" ")
}

/// The options of all commands.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
}

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Services,
    Backends,
    /// Services, and backends once the word has a slash.
    Either,
}

impl Names {
    fn of(arg: &Arg) -> Option<Self> {
        match arg.get_value_names()?.first()?.as_str() {
            "SERVICE" => Some(Names::Services),
            "SERVICE/BACKEND" => Some(Names::Backends),
            "SERVICE[/BACKEND]" => Some(Names::Either),
            _other_values => None,
        }
    }
}

/// A command line whose last word is a name.
#[derive(Debug, PartialEq, Eq)]
struct Unfinished<'a> {
    names: Names,
    word: &'a str,
    /// The words before.
    given: &'a [String],
    /// The program and those words that are options of all commands.
    options: Vec<&'a str>,
}

impl<'a> Unfinished<'a> {
    /// Parses the words after `sluice`; `None` if the last one is not a name.
    fn parse(cli: &Command, words: &'a [String]) -> Option<Self> {
        let (word, given) = words.split_last()?;
        if word.starts_with('-') {
            return None;
        }
        let (mut command, mut positionals, mut options) = (None::<&Command>, 0_usize, vec!["sluice"]);
        let mut rest = given.iter();
        while let Some(next) = rest.next() {
            if !next.starts_with('-') {
                match command {
                    None => command = Some(cli.find_subcommand(next)?),
                    Some(_) => positionals += 1,
                }
                continue;
            }
            let is_global = cli.get_arguments().any(|arg| is_named(arg, next));
            let of_command = command.into_iter().flat_map(Command::get_arguments);
            let arg = cli.get_arguments().chain(of_command).find(|arg| is_named(arg, next));
            options.extend(is_global.then_some(next.as_str()));
            if arg.is_some_and(|arg| arg.get_action().takes_values()) && !next.contains('=') {
                // Without a next word, the last word is the value of this option.
                let value = rest.next()?;
                options.extend(is_global.then_some(value.as_str()));
            }
        }
        let mut left = positionals;
        let arg = command?.get_positionals().find(|arg| {
            let is_here = left == 0 || arg.get_num_args().is_some_and(|count| count.max_values() > 1);
            left = left.saturating_sub(1);
            is_here
        });
        Some(Unfinished { names: Names::of(arg?)?, word, given, options })
    }

    /// The names that the word can become, without those that were given before.
    fn names(&self, status: &Status) -> Vec<String> {
        let mut names: Vec<String> = vec![];
        for service in &status.services {
            let has_backends = match self.names {
                Names::Services => false,
                Names::Backends => true,
                Names::Either => self.word.contains('/'),
            };
            match has_backends {
                true => {
                    let backends = service.backends.iter();
                    names.extend(backends.map(|backend| format!("{}/{}", service.name, backend.name)));
                }
                false => names.push(service.name.clone()),
            }
        }
        names.retain(|name| name.starts_with(self.word) && !self.given.contains(name));
        names
    }
}

/// Whether a word is this option: `--socket`, `--socket=PATH` or `-c`.
fn is_named(arg: &Arg, word: &str) -> bool {
    let long = word.strip_prefix("--").map(|long| long.split('=').next().unwrap_or(long));
    match long {
        Some(long) => arg.get_long() == Some(long),
        None => word.strip_prefix('-').is_some_and(|short| short.parse().ok() == arg.get_short()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;
    use crate::status_text::tests::status;

    fn names(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let cli = Cli::command();
        Unfinished::parse(&cli, &words).map(|line| line.names(&status())).unwrap_or_default()
    }

    #[test]
    fn commands_that_take_names_are_found_by_their_arguments() {
        assert_eq!(
            commands(&Cli::command()),
            "status ready connections drain enable disable weight reset",
            "the value names of their arguments are SERVICE, SERVICE/BACKEND or SERVICE[/BACKEND]"
        );
    }

    #[test]
    fn last_word_becomes_services_or_backends_that_begin_like_it() {
        let status = status();
        let services: Vec<_> = status.services.iter().map(|service| service.name.clone()).collect();
        let backends: Vec<_> = status
            .services
            .iter()
            .find(|service| service.name == "web")
            .unwrap()
            .backends
            .iter()
            .map(|backend| format!("web/{}", backend.name))
            .collect();
        assert_eq!(names("status "), services);
        assert_eq!(names("status --json we"), ["web"]);
        assert_eq!(names("connections we"), ["web"]);
        assert_eq!(names("ready --timeout 2s dns we"), ["web"]);
        assert_eq!(names("connections --limit 5 web/"), backends);
        for command in ["drain", "enable", "disable", "weight", "reset"] {
            assert_eq!(names(&format!("{command} web/")), backends, "{command}");
        }
        assert!(backends.iter().all(|backend| names("drain ").contains(backend)));
        assert_eq!(names(&format!("-c x drain --wait --reason web {} web/", backends[0])), backends[1..]);
    }

    #[test]
    fn word_that_is_no_name_is_left_to_the_shell() {
        for line in [
            "",
            "dra",
            "dra ",
            "drain -",
            "drain --reason ",
            "drain --timeout ",
            "status web ",
            "check ",
            "-c ",
        ] {
            assert_eq!(names(line), [""; 0], "{line:?}");
        }
    }

    #[test]
    fn socket_of_the_command_line_is_the_one_to_ask() {
        let words = ["--socket=/a", "status", "-c", "b.yaml", "--problems", ""].map(str::to_owned);
        let cli = Cli::command();
        let unfinished = Unfinished::parse(&cli, &words).unwrap();
        assert_eq!(unfinished.options, ["sluice", "--socket=/a", "-c", "b.yaml"]);
    }
}
