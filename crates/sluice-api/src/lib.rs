//! The control API: requests and responses between `sluice` and `sluiced`, and a client.
//!
//! HTTP/1.1 with JSON over a Unix socket, so that `curl --unix-socket` works too. Within a version
//! of the path, keys are only added.

#![forbid(unsafe_code)]

mod announce;
mod client;
mod connections;
mod event;
mod live;
mod node;
mod overrides;
mod plan;
mod readiness;
mod status;

use serde::{Deserialize, Serialize};

pub use announce::{AddressState, AnnounceStatus, AnnouncedAddress};
pub use client::{Client, ClientError};
pub use connections::{Connection, Connections, ConnectionsQuery};
pub use event::{Event, EventKind, Severity};
pub use jiff::Timestamp;
pub use live::StatusChanges;
pub use node::{NodeChange, NodeLeft, NodeReply, NodeRequest, NodeStatus};
pub use overrides::{
    ALL_BACKENDS, BackendPath, ChangedBackend, MAX_REASON, OverrideChange, OverrideReply, OverrideRequest,
    OverridesReply, OverridesRequest,
};
pub use plan::{FileText, IncludeTexts, PlanBatch, PlanReport, PlanRequest, PlanStep};
pub use readiness::{ReadyQuery, ReadyReply, ServiceReadiness};
pub use status::{
    Admin, BackendStatus, ConfigStatus, DaemonStatus, FollowerStatus, ForeignChange, ForeignChanges, Health,
    HookStatus, HostStatus, Override, ProbeStatus, QuorumStatus, ReloadStatus, SOURCE_PORTS_SCARCE,
    ServiceState, ServiceStatus, StateStatus, Status, TableStatus,
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

/// `GET` with the query [`ReadyQuery`]: responds with [`ReadyReply`], and 200 if the services are ready, 503 if not.
pub const READY_PATH: &str = "/api/v1/ready";

/// `POST`: reloads the configuration and responds with [`ReloadStatus`] when it is applied: 200, or 422 if `ok` is false.
pub const RELOAD_PATH: &str = "/api/v1/reload";

/// `POST`, with a [`PlanRequest`] or without a body: answers [`PlanReport`], what a reload would do. Changes nothing. On
/// the control socket only.
pub const PLAN_PATH: &str = "/api/v1/plan";

/// `POST` with [`OverrideRequest`]: responds with [`OverrideReply`] when it is applied.
pub const OVERRIDE_PATH: &str = "/api/v1/override";

/// `POST` with [`OverridesRequest`]: changes several backends, all or none, and responds with [`OverridesReply`] when the
/// change is applied.
pub const OVERRIDES_PATH: &str = "/api/v1/overrides";

/// `POST` with [`NodeRequest`]: makes the node leave or join, and responds with [`NodeReply`]. On the control socket only.
pub const NODE_PATH: &str = "/api/v1/node";

/// Body of every response other than 200 and 422, and 503 of [`READY_PATH`].
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
