//! Recent events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A recent event; the daemon keeps those of the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Time of the event.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// How severe it is.
    pub severity: Severity,
    /// The service; `null`: all, or none.
    pub service: Option<String>,
    /// The backend of that service; `null`: all.
    pub backend: Option<String>,
    /// One line of text: `unhealthy: connect 10.0.2.12:8080: connection refused, 3 of 3`.
    pub text: String,
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The daemon started.
    Start,
    /// The configuration was reloaded, or the reload failed.
    Reload,
    /// The health of a backend changed.
    Health,
    /// An operator changed a backend, or made the node leave or join.
    Operator,
    /// A service gained or lost its quorum, or a hook failed.
    Readiness,
    /// Addresses were announced or withdrawn, or could not be.
    Announce,
    /// Another process changed the table.
    Foreign,
    /// The kernel could not be made to match the configuration, or matches again; or changes by others are not noticed,
    /// or noticed again.
    Sync,
}

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Expected.
    Info,
    /// It may become an error.
    Warning,
    /// Clients may be affected.
    Error,
}
