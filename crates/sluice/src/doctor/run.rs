//! Runs the programs that know the host: `ip`, `nft`, `ss` and others.

use std::process::Command;

use serde_json::Value;

/// The output of a program; an error says which command failed, and why.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let command = || format!("{program} {}", arguments.join(" "));
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!("{}: {}", command(), said.lines().next().unwrap_or("it failed")))
        }
        Err(error) => Err(format!("{}: {error}", command())),
    }
}

/// The output of a program that prints JSON; null if it prints nothing.
pub(super) fn parsed(program: &str, arguments: &[&str]) -> Result<Value, String> {
    let text = run(program, arguments)?;
    match text.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_str(&text).map_err(|error| format!("{program}: {error}")),
    }
}
