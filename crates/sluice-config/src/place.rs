//! Where in a document something is, by keys and indices, and what was found there.
//!
//! The typed deserialisation has no lines and columns, so findings carry paths. Only when one must
//! be shown does [`outline`](crate::outline) turn paths into positions.

use std::cell::RefCell;

use crate::problem::{Fault, Severity};

/// One step down from a node of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The value of a key; the number counts earlier entries with an equal key, 0 for the first.
    Key(String, u32),
    /// An element of a list.
    Index(usize),
}

/// A node of one of the files, or the key in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which file, in the order they were read.
    pub(crate) file: usize,
    pub(crate) steps: Vec<Step>,
    /// Whether the key is meant rather than its value.
    pub(crate) key: bool,
}

/// A problem whose position is not known yet.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) severity: Severity,
    pub(crate) fault: Fault,
    /// The other place that the fault is about; its position is put behind what is wrong.
    pub(crate) see: Option<Place>,
}

/// Everything found so far. Shared by nested visitors, hence the cell.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub(crate) fn into_inner(self) -> Vec<Finding> {
        self.0.into_inner()
    }
}

/// What to do about text such as `${VIP}`, whatever is wrong with it.
const TEMPLATE: &str = "sluice knows no variables: fill in the template first";

/// Whether a message quotes a variable of a template.
fn is_template(what: &str) -> bool {
    [("${", "}"), ("{{", "}}"), ("<%", "%>")]
        .iter()
        .any(|(begin, end)| what.split_once(begin).is_some_and(|(_, rest)| rest.contains(end)))
}

/// Where a visitor or a check is now: a list through its callers' stack frames, written out only
/// when something is wrong there.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    findings: &'a Findings,
    file: usize,
    last: Option<(&'a Here<'a>, Last<'a>)>,
}

/// A [`Step`] that borrows its key.
#[derive(Clone, Copy)]
pub(crate) enum Last<'a> {
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

    /// The entry after `nth` others with the same key.
    pub(crate) fn nth_key(&'a self, key: &'a str, nth: u32) -> Here<'a> {
        Here { last: Some((self, Last::Key(key, nth))), ..*self }
    }

    pub(crate) fn index(&'a self, index: usize) -> Here<'a> {
        Here { last: Some((self, Last::Index(index))), ..*self }
    }

    /// Another element of the same list; of anything else, itself.
    pub(crate) fn sibling(&self, index: usize) -> Here<'a> {
        match self.last {
            Some((list, Last::Index(_))) => list.index(index),
            _ => *self,
        }
    }

    /// The step that leads here; `None` at the root.
    pub(crate) fn last(&self) -> Option<Last<'a>> {
        self.last.map(|(_, last)| last)
    }

    pub(crate) fn place(&self) -> Place {
        let mut steps = Vec::new();
        let mut here = self;
        while let Some((up, last)) = here.last {
            steps.push(match last {
                Last::Key(key, nth) => Step::Key(key.to_owned(), nth),
                Last::Index(index) => Step::Index(index),
            });
            here = up;
        }
        steps.reverse();
        Place { file: self.file, steps, key: false }
    }

    /// The key in front of the value.
    pub(crate) fn place_of_key(&self) -> Place {
        Place { key: true, ..self.place() }
    }

    /// The value is wrong.
    pub(crate) fn error(&self, fault: Fault) {
        self.add(self.place(), Severity::Error, fault, None);
    }

    /// The key is wrong, or the whole of what it holds.
    pub(crate) fn error_at_key(&self, fault: Fault) {
        self.add(self.place_of_key(), Severity::Error, fault, None);
    }

    /// The value is wrong because of another place; "at FILE:LINE" follows what is wrong.
    pub(crate) fn error_because_of(&self, fault: Fault, see: Place) {
        self.add(self.place(), Severity::Error, fault, Some(see));
    }

    /// The key is wrong because of another place.
    pub(crate) fn error_at_key_because_of(&self, fault: Fault, see: Place) {
        self.add(self.place_of_key(), Severity::Error, fault, Some(see));
    }

    pub(crate) fn warning(&self, fault: Fault) {
        self.add(self.place(), Severity::Warning, fault, None);
    }

    fn add(&self, place: Place, severity: Severity, mut fault: Fault, see: Option<Place>) {
        if severity == Severity::Error && is_template(&fault.what) {
            TEMPLATE.clone_into(&mut fault.fix);
        }
        self.findings.0.borrow_mut().push(Finding { place, severity, fault, see });
    }
}
