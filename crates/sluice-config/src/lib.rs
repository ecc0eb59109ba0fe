//! Parses and validates the configuration: YAML text to [`Config`]. The only crate that knows the format of the file.
//!
//! Reports every problem with file, line and column. Three passes: `outline` checks that the text is one plain YAML
//! document; `document` reads it and collects findings by path; `validate` checks values against each other. If there
//! are findings, `outline` walks the text again to turn paths into lines and columns.

#![forbid(unsafe_code)]

mod backend_list;
mod document;
mod endpoint;
mod file;
mod guard;
mod hash;
mod health;
mod hook;
mod mapping;
mod outline;
mod parse;
mod problem;
mod quorum;
mod read;
mod schema;
mod texts;
mod validate;
mod values;
mod yaml_path;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use sluice_core::model::Config;

pub use backend_list::parse_backends;
pub use document::schema;
use file::FileReader;
pub use file::{Included, MAX_SIZE, SourceFile};
pub use parse::parse;
pub use problem::{Fault, Problem, Severity, nearest};
pub use texts::Texts;

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/sluice/sluice.yaml";

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration, with includes merged and defaults applied.
    pub config: Config,
    /// Warnings, in file order.
    pub warnings: Vec<Problem>,
}

/// Reads and validates a file and the files it includes.
///
/// # Errors
/// All problems, including warnings: those of the main file first, then those of included files in the order of
/// inclusion, each in file order. At least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let files = FileReader::new();
    let main = files.read(path).map_err(|problem| vec![problem])?;
    parse(main, |pattern| files.include(path, pattern))
}

/// As [`load`], and returns the text of the files.
///
/// # Errors
/// As [`load`].
pub fn load_texts(path: &Path) -> Result<(Loaded, Texts), Vec<Problem>> {
    let files = FileReader::new();
    let main = files.read(path).map_err(|problem| vec![problem])?;
    let texts = RefCell::new(Texts { main: main.clone(), included: Default::default() });
    let loaded = parse(main, |pattern| {
        let included = files.include(path, pattern)?;
        let read = included.iter().filter_map(|source| source.as_ref().ok()).cloned().collect();
        texts.borrow_mut().included.insert(pattern.to_owned(), read);
        Ok(included)
    })?;
    Ok((loaded, texts.into_inner()))
}

/// The control socket that a file sets, even if the rest of the file is invalid; `None` if it sets none.
///
/// # Errors
/// The file cannot be read, or is not YAML.
pub fn control_socket(path: &Path) -> Result<Option<PathBuf>, Problem> {
    parse::control_socket(SourceFile::read(path)?)
}
