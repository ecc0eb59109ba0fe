//! Status as it changes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Event, HostStatus, ReloadStatus, ServiceStatus, StateStatus, TableStatus};

/// What has become different since the event before. What is `null` has not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// When it was looked at.
    pub at: Timestamp,
    /// Services that are new or different, whole.
    pub services: Vec<ServiceStatus>,
    /// Names of services that are gone.
    pub gone: Vec<String>,
    /// What came of the last reload.
    pub reload: Option<ReloadStatus>,
    /// What is in the kernel.
    pub table: Option<TableStatus>,
    /// What all of this machine shares.
    pub host: Option<HostStatus>,
    /// What a restart will know.
    #[serde(default)]
    pub state: Option<StateStatus>,
    /// What happened since.
    pub events: Vec<Event>,
}
