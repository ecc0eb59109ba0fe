//! Paths of the programs under test.

use std::env;
use std::path::PathBuf;

/// The path of a program of this workspace, in the target directory of the running test.
///
/// # Panics
/// If it was not built, with the command that builds it.
pub fn program(name: &str) -> PathBuf {
    let running = env::current_exe().expect("a running program has a path");
    // A test is target/PROFILE/deps/test-HASH, a program target/PROFILE/NAME.
    let found =
        running.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no {name} beside {}: run `cargo build --bins` first", running.display()))
}
