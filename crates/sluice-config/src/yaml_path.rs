//! Paths of keys and indices in a document, and the findings at them.
//!
//! Deserialised values have no lines and columns, so a finding carries a path. [`outline`](crate::outline) turns paths
//! into positions, only if there is a finding.

use std::cell::RefCell;

use crate::problem::{Fault, Severity};

/// One step from a node of a document to a child.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PathStep {
    /// The value of a key; the number counts earlier entries with an equal key, 0 for the first.
    Key(String, u32),
    /// An element of a list.
    Index(usize),
}

/// The path of a node in one of the files, or of the key in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlPath {
    /// Index of the file, in the order of reading.
    pub(crate) file: usize,
    pub(crate) steps: Vec<PathStep>,
    /// Whether it is the path of the key instead of the value.
    pub(crate) key: bool,
}

/// A problem whose position is not known yet.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) place: YamlPath,
    pub(crate) severity: Severity,
    pub(crate) fault: Fault,
    /// Another node that the fault refers to; its position is appended to the message.
    pub(crate) see: Option<YamlPath>,
}

/// All findings so far. Nested visitors share it, hence the cell.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub(crate) fn into_inner(self) -> Vec<Finding> {
        self.0.into_inner()
    }
}

/// The fix for text such as `${VIP}`, whatever the error is.
const TEMPLATE: &str = "sluice does not expand variables: render the template first";

/// Whether a message quotes a template variable.
fn is_template(what: &str) -> bool {
    [("${", "}"), ("{{", "}}"), ("<%", "%>")]
        .iter()
        .any(|(begin, end)| what.split_once(begin).is_some_and(|(_, rest)| rest.contains(end)))
}

/// The current node of a visitor or a check: a linked list through the callers' stack frames. A path is allocated only
/// for a finding.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    findings: &'a Findings,
    file: usize,
    last: Option<(&'a Here<'a>, LastStep<'a>)>,
}

/// A [`PathStep`] that borrows its key.
#[derive(Clone, Copy)]
pub(crate) enum LastStep<'a> {
    Key(&'a str, u32),
    Index(usize),
}

impl<'a> Here<'a> {
    /// The root of a file.
    pub(crate) fn root(findings: &'a Findings, file: usize) -> Self {
        Here { findings, file, last: None }
    }

    pub(crate) fn key(&'a self, key: &'a str) -> Here<'a> {
        self.nth_key(key, 0)
    }

    /// The value of the entry after `nth` others with the same key.
    pub(crate) fn nth_key(&'a self, key: &'a str, nth: u32) -> Here<'a> {
        Here { last: Some((self, LastStep::Key(key, nth))), ..*self }
    }

    pub(crate) fn index(&'a self, index: usize) -> Here<'a> {
        Here { last: Some((self, LastStep::Index(index))), ..*self }
    }

    /// Another element of the same list; itself if it is not in a list.
    pub(crate) fn sibling(&self, index: usize) -> Here<'a> {
        match self.last {
            Some((list, LastStep::Index(_))) => list.index(index),
            _ => *self,
        }
    }

    /// The step from the parent; `None` at the root.
    pub(crate) fn last(&self) -> Option<LastStep<'a>> {
        self.last.map(|(_, last)| last)
    }

    pub(crate) fn path(&self) -> YamlPath {
        let mut steps = Vec::new();
        let mut here = self;
        while let Some((up, last)) = here.last {
            steps.push(match last {
                LastStep::Key(key, nth) => PathStep::Key(key.to_owned(), nth),
                LastStep::Index(index) => PathStep::Index(index),
            });
            here = up;
        }
        steps.reverse();
        YamlPath { file: self.file, steps, key: false }
    }

    /// The path of the key in front of the value.
    pub(crate) fn path_of_key(&self) -> YamlPath {
        YamlPath { key: true, ..self.path() }
    }

    /// Reports an error of the value.
    pub(crate) fn error(&self, fault: Fault) {
        self.add(self.path(), Severity::Error, fault, None);
    }

    /// Reports an error of the key, or of its value as a whole.
    pub(crate) fn error_at_key(&self, fault: Fault) {
        self.add(self.path_of_key(), Severity::Error, fault, None);
    }

    /// Reports an error of the value that refers to another node; "at FILE:LINE" is appended to the message.
    pub(crate) fn error_because_of(&self, fault: Fault, see: YamlPath) {
        self.add(self.path(), Severity::Error, fault, Some(see));
    }

    /// Reports an error of the key that refers to another node.
    pub(crate) fn error_at_key_because_of(&self, fault: Fault, see: YamlPath) {
        self.add(self.path_of_key(), Severity::Error, fault, Some(see));
    }

    pub(crate) fn warning(&self, fault: Fault) {
        self.add(self.path(), Severity::Warning, fault, None);
    }

    fn add(&self, place: YamlPath, severity: Severity, mut fault: Fault, see: Option<YamlPath>) {
        if severity == Severity::Error && is_template(&fault.what) {
            TEMPLATE.clone_into(&mut fault.fix);
        }
        self.findings.0.borrow_mut().push(Finding { place, severity, fault, see });
    }
}
