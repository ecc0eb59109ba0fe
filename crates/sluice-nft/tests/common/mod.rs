//! What several of these tests need.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a shell command with `input` in a network namespace of its own and returns what it printed.
///
/// # Panics
/// If it fails, with its errors: without root, or without nft.
pub fn isolated(command: &str, input: &str) -> String {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-ec", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).unwrap_or_else(|e| panic!("{command}: writing its input: {e}"));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {}\n{errors}given:\n{input}", output.status);
    String::from_utf8(output.stdout).expect("it prints text")
}
