//! A configuration as text, for a reader that does not have the files.

use std::collections::BTreeMap;

use crate::file::SourceFile;
use crate::problem::{Fault, Problem, quoted};
use crate::{Loaded, parse};

/// The text of the main file and of the included files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// The main file.
    pub main: SourceFile,
    /// The files of each `include` pattern, in order.
    pub included: BTreeMap<String, Vec<SourceFile>>,
}

impl Texts {
    /// Validates them without I/O.
    ///
    /// # Errors
    /// As [`load`](crate::load).
    pub fn parse(self) -> Result<Loaded, Vec<Problem>> {
        let Texts { main, included } = self;
        parse(main, |pattern| match included.get(pattern) {
            Some(sources) => Ok(sources.iter().cloned().map(Ok).collect()),
            None => Err(Fault::new(
                format!("missing files for pattern {}", quoted(pattern)),
                "send them with the main file",
            )),
        })
    }
}
