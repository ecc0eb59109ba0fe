//! Goldens: reviewed outputs, plain files beside the tests that read them.
//!
//! `cargo xtask golden --update [CRATE...]` writes them, by setting `SLUICE_UPDATE_GOLDENS`.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// Compares a text with the file at `path`, or replaces the file when `SLUICE_UPDATE_GOLDENS` is set.
///
/// # Errors
/// The difference as a unified diff, if there is one.
///
/// # Panics
/// If the file cannot be written.
pub fn compare(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("SLUICE_UPDATE_GOLDENS").is_some() {
        fs::write(path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    if golden == text {
        return Ok(());
    }
    let diff = TextDiff::from_lines(golden.as_str(), text);
    Err(diff.unified_diff().header(&path.display().to_string(), "now").to_string())
}

/// Compares many texts, each with its file, and shows all differences at once.
///
/// # Panics
/// If there is a difference, or nothing to compare.
#[track_caller]
pub fn assert_all(texts: impl IntoIterator<Item = (PathBuf, String)>) {
    let results: Vec<_> = texts.into_iter().map(|(path, text)| compare(&path, &text)).collect();
    assert!(!results.is_empty(), "no goldens to compare");
    let differences: String = results.into_iter().filter_map(Result::err).collect();
    assert!(differences.is_empty(), "to accept this: cargo xtask golden --update\n{differences}");
}

/// Compares a text with the file at `path`.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_golden(path: &Path, text: &str) {
    assert_all([(path.to_owned(), text.to_owned())]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_shown_line_by_line() {
        let path = std::env::temp_dir().join(format!("golden-{}", std::process::id()));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(compare(&path, "one\ntwo\nthree\n"), Ok(()));
        let difference = compare(&path, "one\n2\nthree\n").unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(difference.contains("\n-two\n+2\n"), "{difference}");
        assert_eq!(difference.lines().count(), 7, "{difference}");
    }
}
