//! [`Ledger`]: sums up the bytes of backends from the counters of flows. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;

use sluice_core::model::{BackendName, ServiceName};
use sluice_netlink::conntrack::{Bytes, Flow};

/// Bytes of each backend in both directions.
pub type BackendBytes = BTreeMap<ServiceName, BTreeMap<BackendName, Bytes>>;

/// Totals of bytes. A total never decreases.
///
/// All flows are read in passes, and the last counters of a flow arrive with its destroy event. The ledger keeps the counted bytes
/// of each live flow and adds only the difference, so no byte counts twice. The difference is attributed to
/// the owners of the flow at the time of the read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    totals: BackendBytes,
    /// Counted bytes of live flows.
    seen: HashMap<u64, Seen>,
    /// Flows that ended since the last pass. The current pass may still read them.
    ended: HashSet<u64>,
    /// Number of the current pass.
    pass: u32,
    /// Whether to ignore the bytes of unknown flows before their first read: they were counted before, or before accounting.
    ignore_preexisting: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: Bytes,
    /// The last pass that read it.
    pass: u32,
}

impl Ledger {
    /// Continues these totals. With `ignore_preexisting`, existing flows count from their first read.
    pub(super) fn new(totals: BackendBytes, ignore_preexisting: bool) -> Self {
        Ledger { totals, ignore_preexisting, ..Ledger::default() }
    }

    /// Begins a pass over all flows.
    pub(super) fn begin_pass(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// Records the counters of a flow in a pass.
    pub(super) fn observe<'a>(
        &mut self,
        flow: &Flow,
        owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>,
    ) {
        let Some(bytes) = flow.bytes else { return };
        let (key, pass) = (self.key(flow), self.pass);
        if self.ended.contains(&key) {
            return;
        }
        let more = match self.seen.entry(key) {
            Entry::Occupied(mut seen) => {
                let before = seen.insert(Seen { bytes, pass }).bytes;
                beyond(bytes, before)
            }
            Entry::Vacant(place) => {
                place.insert(Seen { bytes, pass });
                if self.ignore_preexisting { Bytes::default() } else { bytes }
            }
        };
        self.add(more, owners);
    }

    /// Ends a pass. Flows that neither it nor the pass before read have ended without a destroy event: a dump leaves out flows
    /// that have timed out, and the kernel may report their end only after it.
    pub(super) fn end_pass(&mut self) {
        let pass = self.pass;
        self.seen.retain(|_, seen| pass.wrapping_sub(seen.pass) <= 1);
        self.ended.clear();
        self.ignore_preexisting = false;
        if self.seen.capacity() > 4 * self.seen.len() {
            self.seen.shrink_to(2 * self.seen.len());
        }
    }

    /// Records the last counters of a flow that ended.
    pub(super) fn end_flow<'a>(
        &mut self,
        flow: &Flow,
        owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>,
    ) {
        let Some(bytes) = flow.bytes else { return };
        let key = self.key(flow);
        self.ended.insert(key);
        let more = match self.seen.remove(&key) {
            Some(seen) => beyond(bytes, seen.bytes),
            None if self.ignore_preexisting => Bytes::default(),
            None => bytes,
        };
        self.add(more, owners);
    }

    /// The totals.
    pub(super) fn totals(&self) -> &BackendBytes {
        &self.totals
    }

    fn add<'a>(&mut self, more: Bytes, owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>) {
        if more == Bytes::default() {
            return;
        }
        for (service, backend) in owners {
            if !self.totals.contains_key(service) {
                self.totals.insert(service.clone(), BTreeMap::new());
            }
            let Some(backends) = self.totals.get_mut(service) else { continue };
            let sum = match backends.get_mut(backend) {
                Some(sum) => sum,
                None => backends.entry(backend.clone()).or_default(),
            };
            sum.incoming += more.incoming;
            sum.outgoing += more.outgoing;
        }
    }

    /// The kernel reuses its 32-bit ids, so the key also contains the tuple.
    fn key(&self, flow: &Flow) -> u64 {
        self.seen.hasher().hash_one((flow.id, flow.client, flow.to, flow.protocol, flow.zone))
    }
}

/// What a flow carried since it was counted. Counters that are smaller than before belong to another flow with the same key.
fn beyond(bytes: Bytes, before: Bytes) -> Bytes {
    match (bytes.incoming.checked_sub(before.incoming), bytes.outgoing.checked_sub(before.outgoing)) {
        (Some(incoming), Some(outgoing)) => Bytes { incoming, outgoing },
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_core::model::Protocol;

    use super::*;

    fn flow(id: u32, incoming: u64) -> Flow {
        let [client, to, backend] =
            ["198.51.100.7:1", "203.0.113.10:80", "10.0.2.11:80"].map(|text| text.parse().unwrap());
        Flow {
            protocol: Protocol::Tcp,
            client,
            to,
            backend,
            back_to: client,
            status: 0,
            connection: None,
            id,
            zone: 0,
            expires: 0,
            bytes: Some(Bytes { incoming, outgoing: 2 * incoming }),
        }
    }

    fn names(backend: &str) -> (ServiceName, BackendName) {
        (ServiceName::new("web").unwrap(), BackendName::new(backend).unwrap())
    }

    fn pass(ledger: &mut Ledger, flows: &[Flow], backend: &str) {
        let (service, backend) = names(backend);
        ledger.begin_pass();
        flows.iter().for_each(|flow| ledger.observe(flow, [(&service, &backend)].into_iter()));
        ledger.end_pass();
    }

    fn end(ledger: &mut Ledger, flow: &Flow, backend: &str) {
        let (service, backend) = names(backend);
        ledger.end_flow(flow, [(&service, &backend)].into_iter());
    }

    fn incoming(ledger: &Ledger, backend: &str) -> u64 {
        let (service, backend) = names(backend);
        let bytes = ledger.totals.get(&service).and_then(|backends| backends.get(&backend)).copied();
        let bytes = bytes.unwrap_or_default();
        assert_eq!(bytes.outgoing, 2 * bytes.incoming);
        bytes.incoming
    }

    #[test]
    fn flow_that_ends_between_passes_counts_once() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        pass(&mut ledger, &[flow(1, 100)], "a");
        assert_eq!(incoming(&ledger, "a"), 100);
        end(&mut ledger, &flow(1, 130), "a");
        assert_eq!(incoming(&ledger, "a"), 130);
        // It ended during the pass, which still read it.
        pass(&mut ledger, &[flow(1, 130), flow(2, 5)], "a");
        assert_eq!(incoming(&ledger, "a"), 135);
        end(&mut ledger, &flow(3, 7), "a");
        pass(&mut ledger, &[flow(2, 5)], "a");
        assert_eq!(incoming(&ledger, "a"), 142, "with a flow that no pass read");
    }

    #[test]
    fn flow_that_a_pass_does_not_read_before_its_end_is_reported_counts_once() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        pass(&mut ledger, &[flow(1, 100)], "a");
        // It has timed out, and a dump leaves it out.
        pass(&mut ledger, &[], "a");
        end(&mut ledger, &flow(1, 130), "a");
        assert_eq!(incoming(&ledger, "a"), 130);
    }

    #[test]
    fn flow_with_the_key_of_one_that_ended_without_an_event_counts_from_its_beginning() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        pass(&mut ledger, &[flow(1, 100)], "a");
        pass(&mut ledger, &[flow(1, 3)], "a");
        assert_eq!(incoming(&ledger, "a"), 103);
    }

    #[test]
    fn flow_that_ends_without_an_event_keeps_what_was_counted() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        pass(&mut ledger, &[flow(1, 100), flow(2, 1)], "a");
        (0..2).for_each(|_| pass(&mut ledger, &[flow(2, 1)], "a"));
        assert_eq!((incoming(&ledger, "a"), ledger.seen.len()), (101, 1));
        // The kernel reuses its id.
        pass(&mut ledger, &[flow(1, 3), flow(2, 1)], "a");
        assert_eq!(incoming(&ledger, "a"), 104);
    }

    #[test]
    fn bytes_count_for_the_owner_at_the_time_of_the_read() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        pass(&mut ledger, &[flow(1, 100)], "a");
        pass(&mut ledger, &[flow(1, 120)], "b");
        end(&mut ledger, &flow(1, 125), "c");
        assert_eq!(["a", "b", "c"].map(|name| incoming(&ledger, name)), [100, 20, 5]);
    }

    #[test]
    fn preexisting_flows_count_from_their_first_read() {
        let (service, backend) = names("a");
        let before = Bytes { incoming: 50, outgoing: 100 };
        let mut ledger = Ledger::new([(service, [(backend, before)].into())].into(), true);
        end(&mut ledger, &flow(3, 9), "a");
        pass(&mut ledger, &[flow(1, 100), flow(3, 9)], "a");
        assert_eq!(incoming(&ledger, "a"), 50);
        pass(&mut ledger, &[flow(1, 101), flow(2, 10)], "a");
        assert_eq!(incoming(&ledger, "a"), 61);
    }

    #[test]
    fn flow_without_byte_counters_counts_nothing() {
        let mut ledger = Ledger::new(BackendBytes::new(), false);
        let none = Flow { bytes: None, ..flow(1, 0) };
        pass(&mut ledger, &[none], "a");
        end(&mut ledger, &none, "a");
        assert_eq!((ledger.totals.len(), ledger.seen.len()), (0, 0));
    }

    proptest! {
        /// For any packets and ends between passes, with and without destroy events.
        #[test]
        fn total_is_at_most_what_flows_carried_and_at_least_what_was_reported(
            steps in prop::collection::vec((0u32..6, 0u64..50, 0u8..8), 0..80)
        ) {
            let mut ledger = Ledger::new(BackendBytes::new(), false);
            let mut live = BTreeMap::<u32, u64>::new();
            let (mut sent, mut unreported, mut last) = (0, 0, 0);
            let mut generation = 0;
            for (which, bytes, what) in steps {
                match what {
                    // A packet.
                    0..=4 => {
                        *live.entry(which + generation).or_default() += bytes;
                        sent += bytes;
                    }
                    // An end with or without an event.
                    5 | 6 => if let Some(carried) = live.remove(&(which + generation)) {
                        match what {
                            5 => end(&mut ledger, &flow(which + generation, carried), "a"),
                            _ => unreported += carried,
                        }
                        generation += 6;
                    },
                    _ => {
                        let flows: Vec<_> = live.iter().map(|(id, bytes)| flow(*id, *bytes)).collect();
                        pass(&mut ledger, &flows, "a");
                    }
                }
                let now = incoming(&ledger, "a");
                prop_assert!(last <= now && now <= sent);
                last = now;
            }
            let flows: Vec<_> = live.iter().map(|(id, bytes)| flow(*id, *bytes)).collect();
            pass(&mut ledger, &flows, "a");
            prop_assert!(incoming(&ledger, "a") >= sent - unreported);
        }
    }
}
