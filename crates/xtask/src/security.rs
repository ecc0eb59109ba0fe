//! `cargo xtask security`: checks that the tests named in docs/security.md run, and that each actor has some.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Args;

/// Check that `make test` or `make systemd` runs each test named in docs/security.md
#[derive(Args)]
pub(crate) struct Security {}

/// The page. Paths are relative to the root, where `cargo xtask` runs.
const PAGE: &str = "docs/security.md";

/// The only target whose ignored tests run, by `make systemd`.
const SYSTEMD: &str = "systemd";

/// A test target, and whether the test is ignored in it.
type Found = (String, bool);

impl Security {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let page = fs::read_to_string(PAGE).with_context(|| format!("read {PAGE}"))?;
        let named = named(&page);
        ensure!(named.len() > 30, "{PAGE} names {} tests only", named.len());
        let mut wrong = untested(&page);
        let tests = tests()?;
        wrong.extend(named.into_iter().filter_map(|name| fault(name, tests.get(name))));
        if !wrong.is_empty() {
            bail!("{PAGE}:\n{}", wrong.join("\n"));
        }
        Ok(())
    }
}

/// Words in backquotes that are long enough for names of tests, unlike keys and capabilities.
fn named(page: &str) -> Vec<&str> {
    let is_in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_test = |word: &&str| word.matches('_').count() >= 4 && word.chars().all(is_in_name);
    page.split('`').skip(1).step_by(2).filter(is_test).collect()
}

/// Rows of the table of actors that name no test.
fn untested(page: &str) -> Vec<String> {
    let section = page.split_once("\n## By actor\n").and_then(|(_, rest)| rest.split("\n## ").next());
    // Below its head.
    let rows: Vec<_> =
        section.unwrap_or_default().lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    if rows.is_empty() {
        return vec!["no table of actors".to_owned()];
    }
    let last =
        |row: &str| row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default().to_owned();
    let rows = rows.into_iter().filter(|row| named(&last(row)).is_empty());
    rows.map(|row| format!("no test in the row {row}")).collect()
}

fn fault(name: &str, found: Option<&Found>) -> Option<String> {
    match found {
        None => Some(format!("no test {name}")),
        Some((target, true)) if target != SYSTEMD => Some(format!("test {name} of {target} is ignored")),
        Some(_) => None,
    }
}

/// All tests of the workspace by their last name, as listed by their binaries.
fn tests() -> anyhow::Result<BTreeMap<String, Found>> {
    let built = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-run", "--message-format", "json"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo test")?;
    ensure!(built.status.success(), "cargo test: {}", built.status);
    let mut tests = BTreeMap::new();
    for line in built.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("parse a message of cargo")?;
        let (Some(binary), true) = (message["executable"].as_str(), message["profile"]["test"] == true)
        else {
            continue;
        };
        let target = message["target"]["name"].as_str().unwrap_or_default();
        for ignored in [false, true] {
            let listed = list(binary, ignored)?;
            tests.extend(listed.into_iter().map(|name| (name, (target.to_owned(), ignored))));
        }
    }
    Ok(tests)
}

/// Last names of all tests in a binary, or of the ignored ones.
fn list(binary: &str, ignored: bool) -> anyhow::Result<Vec<String>> {
    let listed = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .args(ignored.then_some("--ignored"))
        .output()
        .with_context(|| format!("list the tests of {binary}"))?;
    ensure!(listed.status.success(), "{binary} --list: {}", listed.status);
    let text = String::from_utf8(listed.stdout).with_context(|| format!("{binary} --list"))?;
    let paths = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(paths.map(|path| path.rsplit("::").next().unwrap_or(path).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actor_without_a_test_is_a_fault() {
        let rows = "\n## By actor\n\n| actor | can | test |\n|---|---|---|\n| a | `x` | `a_test_with_a_long_name` |\n";
        assert_eq!(untested(rows), [""; 0]);
        let more = format!("{rows}| b | `a_test_with_a_long_name` | none |\n\n## Other\n\n| c | d | e |\n");
        assert_eq!(untested(&more), ["no test in the row | b | `a_test_with_a_long_name` | none |"]);
        assert_eq!(untested("nothing"), ["no table of actors"]);
    }

    #[test]
    fn test_that_is_missing_or_ignored_is_a_fault() {
        let page = "`control.group`, `a_test_with_a_long_name`, CAP_NET_ADMIN, `x_y`";
        assert_eq!(named(page), ["a_test_with_a_long_name"]);
        assert_eq!(fault("a", None).as_deref(), Some("no test a"));
        assert_eq!(fault("a", Some(&("e2e".into(), true))).as_deref(), Some("test a of e2e is ignored"));
        assert_eq!(fault("a", Some(&("systemd".into(), true))), None);
        assert_eq!(fault("a", Some(&("e2e".into(), false))), None);
    }
}
