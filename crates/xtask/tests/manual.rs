//! Tests type the commands that docs/operations.md tells people to type.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Blocks that no test types, and why.
const EXCEPTIONS: [(&str, &str); 1] =
    [("install-from-source", "it needs a compiler and the network; the package installs the same files")];

/// Programs with which a command in a block would begin.
const PROGRAMS: [&str; 9] =
    ["apt ", "conntrack ", "ip ", "iptables ", "nft ", "sluice ", "sysctl ", "systemctl ", "journalctl "];

#[test]
fn block_of_commands_in_the_manual_is_typed_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let tests: String = ["tests/e2e", "tests/systemd"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();

    let (mut named, mut wrong) = (BTreeSet::new(), vec![]);
    for (fence, block) in blocks(&page) {
        let is_command = |line: &str| PROGRAMS.iter().any(|program| line.trim_start().starts_with(program));
        match fence.strip_prefix("sh ") {
            Some(name) if !named.insert(name) => wrong.push(format!("there are two blocks {name}")),
            Some(_) => {}
            None if fence == "sh" || block.iter().any(|line| is_command(line)) => {
                wrong.push(format!("a block of commands has no name: {}", block[0]));
            }
            None => {}
        }
    }
    for name in &named {
        let is_typed = tests.contains(&format!("manual(\"{name}\""));
        let is_exception = EXCEPTIONS.iter().any(|(exception, _)| exception == name);
        match (is_typed, is_exception) {
            (false, false) => wrong.push(format!("no test types block {name}")),
            (true, true) => wrong.push(format!("block {name} is typed, and an exception")),
            _ => {}
        }
    }
    let gone = EXCEPTIONS.iter().filter(|(name, _)| !named.contains(name));
    wrong.extend(gone.map(|(name, _)| format!("the exception {name} names no block")));
    assert!(named.len() > 15, "only {named:?}");
    assert!(wrong.is_empty(), "docs/operations.md:\n{}", wrong.join("\n"));
}

/// Fenced blocks: what is behind the fence, and the lines.
fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = vec![];
    let mut is_inside = false;
    for line in page.lines() {
        match line.trim_start().strip_prefix("```") {
            Some("") if is_inside => is_inside = false,
            Some(fence) => {
                blocks.push((fence, vec![]));
                is_inside = true;
            }
            None if is_inside => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    blocks
}
