//! What happened lately.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that an operator should know of; events of the last hour are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What it was about.
    pub kind: EventKind,
    /// How bad it is.
    pub severity: Severity,
    /// Service that it is about; `null`: all of them, or none.
    pub service: Option<String>,
    /// Backend of that service; `null`: all of them.
    pub backend: Option<String>,
    /// One line for people: `unhealthy: connect 10.0.2.12:8080: connection refused, 3 of 3`.
    pub text: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The daemon started.
    Start,
    /// The configuration was read again, or could not be.
    Reload,
    /// Health of a backend.
    Health,
    /// What an operator said of a backend.
    Operator,
    /// Somebody else changed the table.
    Foreign,
    /// The kernel could not be made equal to the configuration, or was again.
    Sync,
}

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good, or as somebody wanted it.
    Info,
    /// It may become bad.
    Warning,
    /// Clients may notice.
    Error,
}
