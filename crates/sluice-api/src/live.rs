//! Changes of the status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AnnounceStatus, ConfigStatus, Event, FollowerStatus, HostStatus, NodeStatus, ReloadStatus, ServiceStatus,
    StateStatus, TableStatus,
};

/// Changes since the previous event; `null`: unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusChanges {
    /// Time when the status was collected.
    pub at: Timestamp,
    /// New and changed services, whole.
    pub services: Vec<ServiceStatus>,
    /// Names of removed services.
    pub gone: Vec<String>,
    /// The configuration in force.
    #[serde(default)]
    pub config: Option<ConfigStatus>,
    /// Result of the last reload.
    pub reload: Option<ReloadStatus>,
    /// The table in the kernel.
    pub table: Option<TableStatus>,
    /// Resources of the host.
    pub host: Option<HostStatus>,
    /// Saved state.
    #[serde(default)]
    pub state: Option<StateStatus>,
    /// What the daemon follows.
    #[serde(default)]
    pub followers: Option<Vec<FollowerStatus>>,
    /// The node as a whole.
    #[serde(default)]
    pub node: Option<NodeStatus>,
    /// Announced addresses.
    #[serde(default)]
    pub announce: Option<AnnounceStatus>,
    /// Events since the previous one.
    pub events: Vec<Event>,
}
