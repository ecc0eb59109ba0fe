//! `cargo xtask man`: generates man pages, shell completions and the JSON Schema.

mod command;
mod markdown;
mod page;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use page::Page;

/// Generate man pages, shell completions and the JSON Schema in docs/
///
/// The sources are the command lines, docs/configuration.md, the types of the configuration, and the text in
/// crates/xtask/src/man/*.md.
#[derive(Args)]
pub(crate) struct Man {
    /// Write nothing; fail if a file is out of date
    #[arg(long)]
    check: bool,
}

/// The date at the foot of the pages: the last release that changed them, set by hand.
const DATE: &str = "2026-11-26";

impl Man {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let docs = docs();
        let files = files(&docs)?;
        if self.check {
            let stale = stale(&docs, &files);
            if !stale.is_empty() {
                bail!("{}: not as the code has it (cargo xtask man)", stale.join(", "));
            }
            return Ok(());
        }
        for (name, text) in files {
            let path = docs.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&docs)).context("make a folder")?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The files that are out of date.
fn stale(docs: &Path, files: &[(String, String)]) -> Vec<String> {
    let differs =
        |(name, text): &&(String, String)| fs::read_to_string(docs.join(name)).ok().as_ref() != Some(text);
    files.iter().filter(differs).map(|(name, _)| format!("docs/{name}")).collect()
}

/// All generated files, by path below docs/.
fn files(docs: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![
        ("man/sluice.1".to_owned(), page("sluice", 1, include_str!("sluice.1.md"), docs)?),
        ("man/sluiced.8".to_owned(), page("sluiced", 8, include_str!("sluiced.8.md"), docs)?),
        ("man/sluice.yaml.5".to_owned(), page("sluice.yaml", 5, include_str!("sluice.yaml.5.md"), docs)?),
        ("sluice.schema.json".to_owned(), serde_json::to_string_pretty(&sluice_config::schema())? + "\n"),
    ];
    for program in ["sluice", "sluiced"] {
        // The names that the shells, and with them the packages, look for.
        let names = [
            (Shell::Bash, format!("{program}.bash")),
            (Shell::Zsh, format!("_{program}")),
            (Shell::Fish, format!("{program}.fish")),
        ];
        for (shell, name) in names {
            let script = match program {
                "sluice" => sluice::completion::script(sluice::command(), shell),
                _ => {
                    let mut script = Vec::new();
                    clap_complete::generate(shell, &mut command_line(program), program, &mut script);
                    String::from_utf8(script)?
                }
            };
            files.push((format!("completions/{name}"), script));
        }
    }
    Ok(files)
}

/// A page from its text, in which lines such as `<!-- options -->` are replaced by generated parts.
fn page(name: &str, section: u8, text: &str, docs: &Path) -> anyhow::Result<String> {
    let mut page = Page::new(name, section, DATE, env!("CARGO_PKG_VERSION"));
    let mut command = command_line(name);
    for part in text.split("\n<!-- ") {
        let (generated, written) = part.split_once(" -->\n").unwrap_or(("", part));
        match generated {
            "" => {}
            "synopsis" => command::synopsis(&mut page, &mut command),
            "options" => command::options(&mut page, &command),
            "commands" => command::commands(&mut page, &mut command),
            "environment" => command::environment(&mut page, &command),
            "reference" => {
                let path = docs.join("configuration.md");
                let reference =
                    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                markdown::append(&mut page, &reference);
            }
            other => bail!("nothing is generated for {other}"),
        }
        markdown::append(&mut page, written);
    }
    Ok(page.render())
}

/// The command line of a page or a script; for the page of the file, that of the daemon.
fn command_line(name: &str) -> Command {
    let mut command = match name {
        "sluice" => sluice::command(),
        _ => sluiced::args::Args::command(),
    };
    command.build();
    command
}
