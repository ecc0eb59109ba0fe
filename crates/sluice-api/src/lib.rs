//! The control socket: what `sluiced` answers and `sluice` asks.
//!
//! HTTP/1.1 with JSON over a Unix socket, so that `curl --unix-socket` works too. Keys are only
//! ever added within a version of the path.

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
pub use live::Changes;
pub use plan::{FileText, IncludeTexts, PlanBatch, PlanReport, PlanRequest, PlanStep};
pub use status::{
    Admin, BackendStatus, DaemonStatus, ForeignChange, ForeignChanges, Health, HostStatus, Override,
    ProbeStatus, ReloadStatus, SOURCE_PORTS_SCARCE, ServiceState, ServiceStatus, StateStatus, Status,
    TableStatus,
};

/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";

/// `GET`: answers [`Status`].
pub const STATUS_PATH: &str = "/api/v1/status";

/// `GET`: server-sent events, about once a second. The first, `status`, is a [`Status`]; each `changes` after it, a
/// [`Changes`], says what has become different. Who is too slow gets another `status` instead.
pub const LIVE_PATH: &str = "/api/v1/live";

/// `GET` with the query [`ConnectionsQuery`]: answers [`Connections`]. On the control socket only.
pub const CONNECTIONS_PATH: &str = "/api/v1/connections";

/// `GET`: answers Prometheus' text format, or OpenMetrics to who asks for it.
pub const METRICS_PATH: &str = "/metrics";

/// `GET`: answers 200 and `ok`, or 503 and why the kernel is not equal to the configuration.
pub const HEALTHZ_PATH: &str = "/healthz";

/// `POST`: reads the configuration again and answers [`ReloadStatus`] when all is done: 200, or 422
/// when `ok` is false.
pub const RELOAD_PATH: &str = "/api/v1/reload";

/// `POST`, with a [`PlanRequest`] or without a body: answers [`PlanReport`], what a reload would do. Changes nothing. On
/// the control socket only.
pub const PLAN_PATH: &str = "/api/v1/plan";

/// `POST` with [`OverrideRequest`]: answers [`OverrideReply`] once the kernel has it.
pub const OVERRIDE_PATH: &str = "/api/v1/override";

/// What an operator says of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRequest {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// What is to change: `{"admin": "drain"}`, `{"weight": 3}` or `{"weight": null}`.
    pub change: Change,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Admin state.
    Admin(Admin),
    /// Weight, 0 to 256; `null`: the file's.
    Weight(Option<u16>),
}

/// What came of an [`OverrideRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideReply {
    /// The backend as it is now.
    #[serde(flatten)]
    pub backend: BackendStatus,
    /// Why a restart of the daemon will not know of the change; `null`: it will.
    #[serde(default)]
    pub not_remembered: Option<String>,
}

/// Body of every answer that is neither 200 nor 422.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

/// A count as people write it: `1 service`, `2 services`.
pub fn number(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
