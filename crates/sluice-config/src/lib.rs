//! YAML text to a validated [`Config`]; the only crate that knows the file's format.
//!
//! Every problem is reported, not just the first, each with file, line and column. Three passes:
//! `outline` checks that the text is one plain YAML document; `document` reads it, noting what is
//! wrong by path; `validate` checks what the services say together. When anything was noted,
//! `outline` walks the text once more to turn paths into lines and columns.

#![forbid(unsafe_code)]

mod amount;
mod choice;
mod document;
mod endpoint;
mod guard;
mod hash;
mod outline;
mod parse;
mod place;
mod probe;
mod probe_word;
mod problem;
mod read;
mod schema;
mod source;
mod texts;
mod validate;
mod word;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use sluice_core::model::Config;

pub use parse::parse;
pub use problem::{Fault, Problem, Severity, nearest};
pub use schema::schema;
pub use source::{Included, MAX_FILE_SIZE, Source};
pub use texts::Texts;

/// Where the configuration is unless somebody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sluice/sluice.yaml";

/// A file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says, includes merged and defaults applied.
    pub config: Config,
    /// What it says that is probably not meant, in file order.
    pub warnings: Vec<Problem>,
}

/// Reads and validates a file and the files it includes.
///
/// # Errors
/// All problems, warnings too, in file order: the named file's first, then the included files' in
/// the order they were included. At least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let main = Source::read(path).map_err(|problem| vec![problem])?;
    parse(main, |pattern| source::include(path, pattern))
}

/// The same, with the texts that were read.
///
/// # Errors
/// As [`load`].
pub fn load_texts(path: &Path) -> Result<(Loaded, Texts), Vec<Problem>> {
    let main = Source::read(path).map_err(|problem| vec![problem])?;
    let texts = RefCell::new(Texts { main: main.clone(), included: Default::default() });
    let loaded = parse(main, |pattern| {
        let included = source::include(path, pattern)?;
        let read = included.iter().filter_map(|source| source.as_ref().ok()).cloned().collect();
        texts.borrow_mut().included.insert(pattern.to_owned(), read);
        Ok(included)
    })?;
    Ok((loaded, texts.into_inner()))
}

/// The control socket that a file names, also if the file is bad otherwise; `None`: it names none, so it is the default
/// one.
///
/// # Errors
/// It cannot be read, or is no YAML.
pub fn control_socket(path: &Path) -> Result<Option<PathBuf>, Problem> {
    parse::control_socket(Source::read(path)?)
}
