//! The control API: requests and responses between `sluice` and `sluiced`, and a client.
//!
//! HTTP/1.1 with JSON over a Unix socket, so that `curl --unix-socket` works too. Within a version
//! of the path, keys are only added.

#![forbid(unsafe_code)]

mod client;
mod connections;
mod event;
mod live;
mod plan;
mod status;

use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError};
pub use connections::{Connection, Connections, ConnectionsQuery};
pub use event::{Event, EventKind, Severity};
pub use jiff::Timestamp;
pub use live::StatusChanges;
pub use plan::{FileText, IncludeTexts, PlanBatch, PlanReport, PlanRequest, PlanStep};
pub use status::{
    Admin, BackendStatus, DaemonStatus, FollowerStatus, ForeignChange, ForeignChanges, Health, HostStatus,
    Override, ProbeStatus, ReloadStatus, SOURCE_PORTS_SCARCE, ServiceState, ServiceStatus, StateStatus,
    Status, TableStatus,
};

/// The default path of the control socket.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";

/// `GET`: responds with [`Status`].
pub const STATUS_PATH: &str = "/api/v1/status";

/// `GET`: server-sent events, about once a second. The first, `status`, is a [`Status`]; each `changes` after it, a
/// [`StatusChanges`], has what changed. A client that is too slow gets another `status` instead.
pub const LIVE_PATH: &str = "/api/v1/live";

/// `GET` with the query [`ConnectionsQuery`]: responds with [`Connections`]. On the control socket only.
pub const CONNECTIONS_PATH: &str = "/api/v1/connections";

/// `GET`: responds in the text format of Prometheus, or in OpenMetrics if the client accepts it.
pub const METRICS_PATH: &str = "/metrics";

/// `GET`: responds with 200 and `ok`, or with 503 and the reason why the kernel does not match the configuration.
pub const HEALTHZ_PATH: &str = "/healthz";

/// `POST`: reloads the configuration and responds with [`ReloadStatus`] when it is applied: 200, or 422 if `ok` is false.
pub const RELOAD_PATH: &str = "/api/v1/reload";

/// `POST`, with a [`PlanRequest`] or without a body: answers [`PlanReport`], what a reload would do. Changes nothing. On
/// the control socket only.
pub const PLAN_PATH: &str = "/api/v1/plan";

/// `POST` with [`OverrideRequest`]: responds with [`OverrideReply`] when it is applied.
pub const OVERRIDE_PATH: &str = "/api/v1/override";

/// An operator's change of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRequest {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// The change: `{"admin": "drain"}`, `{"weight": 3}`, `{"weight": null}` or `{"reset": {}}`.
    pub change: OverrideChange,
    /// Why, on one line of at most [`MAX_REASON`] characters; `null`: no reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Maximum number of characters of the reason for an override.
pub const MAX_REASON: usize = 200;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideChange {
    /// Admin state.
    Admin(Admin),
    /// Weight, 0 to 256; `null`: that of the file.
    Weight(Option<u16>),
    /// No override: admin state and weight of the file.
    Reset {},
}

/// Response to an [`OverrideRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideReply {
    /// The backend after the change.
    #[serde(flatten)]
    pub backend: BackendStatus,
    /// Why the change was not saved, so that a restart loses it; `null`: it was saved.
    #[serde(default)]
    pub not_remembered: Option<String>,
}

/// Body of every response other than 200 and 422.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

/// A count with its noun: `1 service`, `2 services`.
pub fn pluralize(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
