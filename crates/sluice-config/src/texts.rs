//! A configuration that is handed on as text: its reader may have other files, or none of them.

use std::collections::BTreeMap;

use crate::problem::{Fault, Problem, quoted};
use crate::source::Source;
use crate::{Loaded, parse};

/// The texts of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// The file.
    pub main: Source,
    /// The files behind each of its `include` patterns, in order.
    pub included: BTreeMap<String, Vec<Source>>,
}

impl Texts {
    /// Validates them; no file is touched.
    ///
    /// # Errors
    /// As [`load`](crate::load).
    pub fn parse(self) -> Result<Loaded, Vec<Problem>> {
        let Texts { main, included } = self;
        parse(main, |pattern| match included.get(pattern) {
            Some(sources) => Ok(sources.iter().cloned().map(Ok).collect()),
            None => Err(Fault::new(format!("no texts for {}", quoted(pattern)), "send those files, too")),
        })
    }
}
