//! What other tasks ask of the reconcile task.

use std::sync::Arc;

use sluice_api::{ErrorReply, OverrideReply, OverrideRequest, PlanReport, ReloadStatus};
use sluice_config::{Loaded, Problem};
use sluice_core::census::Census;
use sluice_core::model::Networks;
use sluice_netlink::Event;
use tokio::sync::{mpsc, oneshot};

use crate::status::view::View;

/// Requests that may wait; who asks more waits to ask.
const WAITING: usize = 16;

/// Something to do, in the order of asking. Who no longer waits for an answer does not matter.
#[derive(Debug)]
pub enum Request {
    /// Read the configuration again and make the kernel equal to it.
    Reload(Option<oneshot::Sender<ReloadStatus>>),
    /// Say what a reload would do, of this configuration or of the daemon's file.
    Plan(Option<Box<Loaded>>, oneshot::Sender<Result<PlanReport, Unplanned>>),
    /// Hand out how things are.
    View(oneshot::Sender<View>),
    /// An operator says something of a backend: who, and the answer, in which flows are not counted.
    Override(OverrideRequest, u32, oneshot::Sender<Result<OverrideReply, Refused>>),
    /// Say how many of these flows a backend has, by the names of its service and itself; `None`: there is none such.
    Active([String; 2], Arc<Census>, oneshot::Sender<Option<u64>>),
    /// Somebody else touched the table: look, and repair it.
    Foreign(Event),
    /// The host is in these networks now.
    Networks(Networks),
    /// Somebody may have switched forwarding on or off.
    Forwarding,
    /// From now on these changes by others are asked for when they happen, or are not, and why.
    Follower(Follower, Result<(), String>),
    /// Stop in order, as the file says.
    Stop,
    /// Stop, and leave everything to the daemon that is started next.
    HandOver,
}

/// What is followed of what others change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follower {
    /// Interfaces, addresses and forwarding.
    Addresses,
    /// Commits to a table that we do not own.
    Ruleset,
}

impl Follower {
    /// As in status, metrics and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Follower::Addresses => "addresses",
            Follower::Ruleset => "ruleset",
        }
    }
}

/// Why what an operator says does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such backend.
    Unknown(ErrorReply),
    /// It is noted, but the kernel does not have it yet.
    Pending(ErrorReply),
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// The configuration is bad.
    BadFile(ErrorReply),
    /// The kernel could not be read.
    Failed(ErrorReply),
}

/// Why a configuration cannot be planned for.
pub(crate) fn bad_file(problems: &[Problem]) -> ErrorReply {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    ErrorReply { error: lines.join("\n"), hint: "correct the file: `sluice check` shows the same".to_owned() }
}

/// Asking end and answering end.
pub fn channel() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(WAITING)
}
