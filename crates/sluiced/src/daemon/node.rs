//! The node leaves and joins.

use std::sync::Arc;
use std::time::Duration;

use sluice_api::{EventKind, NodeChange, NodeLeft, NodeReply, NodeRequest, Severity};
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::announce::Report;
use crate::daemon::Daemon;
use crate::daemon::announce::PATIENCE;
use crate::daemon::saver::{Saved, not_remembered};
use crate::host::clock::now;

/// The result of a change of the node.
#[derive(Debug)]
pub(crate) struct PendingNode {
    left: Option<NodeLeft>,
    /// The execution of the order of addresses; `None`: none changes.
    addresses: Option<oneshot::Receiver<Arc<Report>>>,
    /// Wait after addresses are withdrawn.
    wait: Duration,
    saved: oneshot::Receiver<Saved>,
}

impl<D: Dataplane> Daemon<D> {
    /// Makes the node leave or join.
    pub(crate) fn set_node(&mut self, request: NodeRequest, uid: u32) -> PendingNode {
        let NodeRequest { change, reason } = request;
        let told = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = match change {
            NodeChange::Leave => {
                let since = self.left.as_ref().map_or_else(now, |left| left.since);
                self.left = Some(NodeLeft { uid, since, reason });
                format!("the node has left, by uid {uid}{told}")
            }
            NodeChange::Join => {
                self.left = None;
                format!("the node has joined, by uid {uid}{told}")
            }
        };
        info!("{text}");
        self.events.add(EventKind::Operator, Severity::Info, text);
        let addresses = self.publish_readiness();
        let saved = self.order_save(true);
        let wait = self.config.announce.withdraw_wait;
        PendingNode { left: self.left.clone(), addresses, wait, saved }
    }
}

impl PendingNode {
    /// The answer, after addresses are withdrawn, the wait, and the result of the save. The reconcile task does not wait for this.
    pub(crate) async fn answer(self) -> NodeReply {
        let PendingNode { left, addresses, wait, saved } = self;
        let (mut withdrawn, mut not_withdrawn) = (0, None);
        if let Some(addresses) = addresses {
            match timeout(PATIENCE, addresses).await {
                Ok(Ok(report)) => {
                    withdrawn = report.withdrawn.len();
                    not_withdrawn = report.error().map(str::to_owned);
                }
                Ok(Err(_closed)) => not_withdrawn = Some("no thread changes addresses".to_owned()),
                Err(_elapsed) => {
                    not_withdrawn = Some(format!("no answer of the kernel for {} s", PATIENCE.as_secs()));
                }
            }
        }
        if left.is_none() {
            not_withdrawn = None;
        } else if withdrawn > 0 {
            sleep(wait).await;
        }
        NodeReply { left, withdrawn, not_withdrawn, not_remembered: not_remembered(saved).await }
    }
}
