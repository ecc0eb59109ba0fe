//! [`ConnectionLimits`]: limits the number of connections, in total and per peer.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::task::Id;

/// Maximum numbers of connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Bounds {
    /// In total.
    pub(in crate::api) all: usize,
    /// Of one peer, so that it cannot exclude others.
    pub(in crate::api) each: usize,
    /// How many of all are for privileged peers only.
    pub(in crate::api) reserved: usize,
}

/// The open connections of a listener. A peer is whatever shares a limit: an address, or a user.
#[derive(Debug)]
pub(super) struct ConnectionLimits<P> {
    bounds: Bounds,
    open: HashMap<Id, P>,
    each: HashMap<P, usize>,
}

impl<P: Copy + Eq + Hash> ConnectionLimits<P> {
    pub(super) fn new(bounds: Bounds) -> Self {
        ConnectionLimits { bounds, open: HashMap::new(), each: HashMap::new() }
    }

    /// Whether another connection of this peer is admitted.
    pub(super) fn admits(&self, peer: P, is_privileged: bool) -> bool {
        let Bounds { all, each, reserved } = self.bounds;
        let all = if is_privileged { all } else { all - reserved };
        self.open.len() < all && self.each.get(&peer).is_none_or(|open| *open < each)
    }

    /// Records a new connection, served by this task.
    pub(super) fn opened(&mut self, task: Id, peer: P) {
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

    const BOUNDS: Bounds = Bounds { all: 10, each: 3, reserved: 4 };

    /// Opens connections of a peer while they are admitted; returns their tasks.
    fn fill(limits: &mut ConnectionLimits<u32>, peer: u32, is_privileged: bool) -> Vec<Id> {
        let mut tasks = vec![];
        while limits.admits(peer, is_privileged) {
            let task = tokio::spawn(async {}).id();
            limits.opened(task, peer);
            tasks.push(task);
        }
        tasks
    }

    #[tokio::test]
    async fn other_peers_are_admitted_when_one_has_reached_its_limit() {
        let mut limits = ConnectionLimits::new(BOUNDS);
        let tasks = fill(&mut limits, 1, false);
        assert_eq!(tasks.len(), BOUNDS.each);
        assert!(limits.admits(2, false));
        limits.closed(tasks[0]);
        assert!(limits.admits(1, false));
        tasks.iter().for_each(|task| limits.closed(*task));
        assert!(limits.open.is_empty() && limits.each.is_empty());
    }

    #[tokio::test]
    async fn privileged_peers_are_admitted_when_all_others_have_reached_the_limit() {
        let mut limits = ConnectionLimits::new(BOUNDS);
        let others: usize = (1..=9).map(|peer| fill(&mut limits, peer, false).len()).sum();
        assert_eq!(others, BOUNDS.all - BOUNDS.reserved);
        assert_eq!(fill(&mut limits, 0, true).len(), BOUNDS.each);
        // And one of them cannot exclude another one.
        assert!(limits.admits(100, true));
    }
}
