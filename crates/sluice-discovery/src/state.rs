//! [`LookupState`]: what is known of a lookup.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sluice_core::model::Answer;

/// What is known of a lookup. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupState {
    /// The last good answer; `None`: there was none yet.
    pub answer: Option<Arc<Answer>>,
    /// Time of the last good answer, changed or not.
    pub answered: Option<Timestamp>,
    /// Whether the answer is that of an earlier run.
    pub is_restored: bool,
    /// The error of the last lookup; `None`: it was good, or there was none yet.
    pub error: Option<LookupFailure>,
    /// Duration of the last lookup.
    pub took: Duration,
    /// Number of lookups.
    pub queries: u64,
    /// Number of those with an error.
    pub failures: u64,
    /// Number of those that changed the answer.
    pub changes: u64,
}

/// An error that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupFailure {
    /// The last error.
    pub message: String,
    /// Time of the first error since the last good answer.
    pub since: Timestamp,
    /// Time of the last error.
    pub at: Timestamp,
}

impl LookupState {
    /// Whether the answer in force may be out of date: the last lookup failed, or this run had no answer yet.
    pub fn is_stale(&self) -> bool {
        self.answer.is_some() && (self.error.is_some() || self.is_restored)
    }
}
