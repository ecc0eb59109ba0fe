//! The files in `config/` are what the documentation shows: they load, and say nothing doubtful.

use std::fs;
use std::path::Path;

use sluice_config::load;

#[test]
fn shipped_files_load_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        match load(file) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", file.display()),
            Err(problems) => panic!("{problems:#?}"),
        }
    }
    assert!(files.iter().any(|file| file.ends_with("sluice.yaml")), "{files:?}");
}
