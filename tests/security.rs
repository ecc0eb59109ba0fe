//! Every test that docs/security.md names exists.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

#[test]
fn tests_that_the_page_on_security_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/security.md")).expect("read the page");
    // Names of tests are long; keys and capabilities are not.
    let is_test = |word: &&str| word.matches('_').count() >= 4 && word.chars().all(is_in_name);
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 30, "{named:?}");
    let mut sources = String::new();
    ["crates", "tests"].iter().for_each(|folder| read(&root.join(folder), &mut sources));
    let missing = named.iter().filter(|name| !sources.contains(&format!("fn {name}(")));
    assert_eq!(missing.collect::<Vec<_>>(), [&""; 0]);
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// All Rust files of a folder and those in it.
fn read(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("list a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("read a file"));
        }
    }
}
