//! [`ConnectionLimits`]: limits the number of HTTP connections, in total and per client address.

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::task::Id;

/// Maximum number of connections.
const ALL: usize = 1024;

/// Maximum number of connections from one address, so that one machine cannot exclude others.
const EACH: usize = 256;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimits {
    open: HashMap<Id, IpAddr>,
    each: HashMap<IpAddr, usize>,
}

impl ConnectionLimits {
    /// Whether another connection from this address is admitted.
    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        self.open.len() < ALL && self.each.get(&peer).is_none_or(|open| *open < EACH)
    }

    /// Records a new connection, served by this task.
    pub(super) fn opened(&mut self, task: Id, peer: IpAddr) {
        self.open.insert(task, peer);
        *self.each.entry(peer).or_default() += 1;
    }

    /// Records the end of a connection.
    pub(super) fn closed(&mut self, task: Id) {
        let Some(peer) = self.open.remove(&task) else { return };
        if let Some(open) = self.each.get_mut(&peer) {
            *open -= 1;
            if *open == 0 {
                self.each.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_addresses_are_admitted_when_one_has_reached_its_limit() {
        let mut limits = ConnectionLimits::default();
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let ids: Vec<Id> = (0..EACH).map(|_| tokio::spawn(async {}).id()).collect();
        for id in &ids {
            assert!(limits.admits(one));
            limits.opened(*id, one);
        }
        assert!(!limits.admits(one) && limits.admits(other));
        limits.closed(ids[0]);
        assert!(limits.admits(one));
        ids.iter().for_each(|id| limits.closed(*id));
        assert!(limits.open.is_empty() && limits.each.is_empty());
    }
}
