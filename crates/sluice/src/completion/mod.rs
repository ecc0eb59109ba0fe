//! Shell completions: scripts made by clap that also complete names of services and backends.
//!
//! The scripts run `sluice __complete WORD...` with the words of an unfinished command line (names.rs).

pub(crate) mod names;

use clap::Command;
use clap_complete::Shell;

/// The completion script of the command line `cli` for a shell.
pub fn script(mut cli: Command, shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli, "sluice", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    // bash and zsh complete with the function `_sluice`: it tries the names first.
    let names_first = |names: &str, call: &str| {
        script.replacen("_sluice() {\n", &format!("{names}_sluice() {{\n    {call} && return 0\n"), 1)
    };
    match shell {
        Shell::Bash => names_first(include_str!("names.bash"), "_sluice_names \"$1\""),
        Shell::Zsh => names_first(include_str!("names.zsh"), "_sluice_names"),
        Shell::Fish => script + &include_str!("names.fish").replace("COMMANDS", &names::commands(&cli)),
        // `Shell` is non-exhaustive: the packages have no script for other shells.
        _ => script,
    }
}
