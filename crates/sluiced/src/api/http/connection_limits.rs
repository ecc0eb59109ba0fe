//! Limits of the number of HTTP connections.

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::task::Id;

/// Maximum number of connections.
const ALL: usize = 1024;

/// Maximum number of connections from one address, so that one machine cannot exclude others.
const EACH: usize = 256;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Limits {
    open: HashMap<Id, IpAddr>,
    each: HashMap<IpAddr, usize>,
}

impl Limits {
    /// Whether another connection from this address is admitted.
    pub(super) fn lets_in(&self, peer: IpAddr) -> bool {
        self.open.len() < ALL && self.each.get(&peer).is_none_or(|open| *open < EACH)
    }

    /// Records a new connection, served by this task.
    pub(super) fn came(&mut self, task: Id, peer: IpAddr) {
        self.open.insert(task, peer);
        *self.each.entry(peer).or_default() += 1;
    }

    /// Records the end of a connection.
    pub(super) fn went(&mut self, task: Id) {
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
    async fn room_for_others_when_one_address_has_all_that_it_may() {
        let mut limits = Limits::default();
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let ids: Vec<Id> = (0..EACH).map(|_| tokio::spawn(async {}).id()).collect();
        for id in &ids {
            assert!(limits.lets_in(one));
            limits.came(*id, one);
        }
        assert!(!limits.lets_in(one) && limits.lets_in(other));
        limits.went(ids[0]);
        assert!(limits.lets_in(one));
        ids.iter().for_each(|id| limits.went(*id));
        assert!(limits.open.is_empty() && limits.each.is_empty());
    }
}
