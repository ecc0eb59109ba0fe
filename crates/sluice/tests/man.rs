//! `sluice man` and `sluice completions` print what the packages install.

use std::path::Path;
use std::process::Command;

#[track_caller]
fn assert_prints(arguments: &[&str], file: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let committed =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)).unwrap();
    assert!(!committed.is_empty());
    assert!(output.stdout == committed, "sluice {arguments:?} is not docs/{file} (cargo xtask man)");
}

#[test]
fn man_without_a_name_prints_the_page_of_sluice() {
    assert_prints(&["man"], "man/sluice.1");
}

#[test]
fn man_of_each_page_prints_that_page() {
    assert_prints(&["man", "sluice"], "man/sluice.1");
    assert_prints(&["man", "sluiced"], "man/sluiced.8");
    assert_prints(&["man", "sluice.yaml"], "man/sluice.yaml.5");
}

#[test]
fn completions_of_each_shell_are_the_committed_ones() {
    for (shell, file) in [("bash", "sluice.bash"), ("zsh", "_sluice"), ("fish", "sluice.fish")] {
        assert_prints(&["completions", shell], &format!("completions/{file}"));
    }
}
