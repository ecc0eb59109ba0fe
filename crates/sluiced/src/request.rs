//! Requests to the reconcile task.

use std::sync::Arc;

use sluice_api::{
    ErrorReply, HookStatus, NodeReply, NodeRequest, OverridesReply, OverridesRequest, PlanReport,
    ReloadStatus,
};
use sluice_config::{Loaded, Problem};
use sluice_core::model::{Networks, ServiceName, Services};
use sluice_netlink::Event;
use tokio::sync::{mpsc, oneshot};

use crate::status::view::View;

/// Capacity of the channel of requests; senders wait when it is full.
const WAITING: usize = 16;

/// A request. It is executed in order, also if its sender no longer waits for the answer.
#[derive(Debug)]
pub enum Request {
    /// Reload the configuration.
    Reload(Option<oneshot::Sender<ReloadStatus>>),
    /// Plan a reload of this configuration.
    Plan(Box<Loaded>, oneshot::Sender<Result<PlanReport, ErrorReply>>),
    /// Return a view for status and metrics.
    View(oneshot::Sender<View>),
    /// Apply overrides of the user with this id, all or none. The answer has no counts of flows.
    Override(OverridesRequest, u32, oneshot::Sender<Result<OverridesReply, OverrideError>>),
    /// Make the node leave or join, as the user with this id wants.
    Node(NodeRequest, u32, oneshot::Sender<NodeReply>),
    /// Return the services of the file in force.
    Services(oneshot::Sender<Arc<Services>>),
    /// Check the table after a foreign change, and repair it.
    Foreign(Event),
    /// Apply the current networks of the host.
    Networks(Networks),
    /// Check forwarding, which may have changed.
    Forwarding,
    /// Record whether a follower works, or its error.
    Follower(Follower, Result<(), String>),
    /// Record a run of a hook of a service.
    HookEnded(ServiceName, HookStatus),
    /// Stop, as `on_stop` says.
    Stop,
    /// Stop, and hand over to the next daemon.
    HandOver,
}

/// A source of events about foreign changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follower {
    /// Interfaces, addresses and forwarding.
    Addresses,
    /// Commits to a table without an owner.
    Ruleset,
}

impl Follower {
    /// Its name in status, metrics and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Follower::Addresses => "addresses",
            Follower::Ruleset => "ruleset",
        }
    }
}

/// Why an override failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideError {
    /// A backend does not exist.
    Unknown(ErrorReply),
    /// The weights need more than a file may.
    Excessive(ErrorReply),
    /// The override is stored, but not in the kernel yet.
    Pending(ErrorReply),
}

/// The error of a configuration that cannot be planned.
pub(crate) fn bad_file(problems: &[Problem]) -> ErrorReply {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    ErrorReply { error: lines.join("\n"), hint: "correct the file: `sluice check` shows the same".to_owned() }
}

/// Sender and receiver of requests.
pub fn channel() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(WAITING)
}
