//! Where the programs under test are.

use std::env;
use std::path::PathBuf;

/// The path of a program of this workspace, built beside the running test.
///
/// # Panics
/// If it has not been built, with the command that does.
pub fn program(name: &str) -> PathBuf {
    let running = env::current_exe().expect("a running program has a path");
    // target/PROFILE/deps/test-HASH for a test, target/PROFILE/NAME for a program.
    let found =
        running.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no {name} beside {}: run `cargo build --bins` first", running.display()))
}
