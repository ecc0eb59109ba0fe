//! The node as a whole: [`NodeRequest`] makes it leave or join.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An operator's change of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRequest {
    /// The change.
    pub change: NodeChange,
    /// Why, as in [`OverrideRequest::reason`](crate::OverrideRequest::reason).
    #[serde(default)]
    pub reason: Option<String>,
}

/// A change of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeChange {
    /// No service is ready, and no address is announced. Traffic that still arrives is served.
    Leave,
    /// Services are ready again if nothing else prevents it.
    Join,
}

/// The node as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who made it leave; `null`: it has not left.
    pub left: Option<NodeLeft>,
}

/// That a node has left, until it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLeft {
    /// User id of the operator who made it leave.
    pub uid: u32,
    /// Since when.
    pub since: Timestamp,
    /// The operator's reason; `null`: none given.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Response to a [`NodeRequest`]. That to a leave comes `announce.withdraw_wait` after the addresses are withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReply {
    /// The state after the change; `null`: the node has not left.
    pub left: Option<NodeLeft>,
    /// Number of addresses that this change withdrew.
    pub withdrawn: usize,
    /// Why addresses are not withdrawn yet; `null`: they are. The daemon retries.
    #[serde(default)]
    pub not_withdrawn: Option<String>,
    /// Why the change was not saved, so that a restart loses it; `null`: it was saved.
    #[serde(default)]
    pub not_remembered: Option<String>,
}
