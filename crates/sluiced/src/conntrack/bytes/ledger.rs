//! Bytes of backends, from what single flows say that they carried.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;

use sluice_core::model::{BackendName, ServiceName};
use sluice_netlink::conntrack::{Bytes, Flow};

/// Bytes of each backend, in both directions.
pub type Carried = BTreeMap<ServiceName, BTreeMap<BackendName, Bytes>>;

/// Adds up what flows carried since they were last looked at. A total never goes backwards.
///
/// Flows are looked at from time to time, all of them, and once more at their end, of which the kernel tells. Of each
/// one that lives it is known how much of it has been counted, so nothing counts twice. Whose a flow is counts when it
/// is looked at.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    carried: Carried,
    /// What has been counted of flows that live.
    seen: HashMap<u64, Seen>,
    /// Those that ended since the last look, which may still come up in the one that is under way.
    ended: HashSet<u64>,
    look: u32,
    /// Whether what flows carried until they are first looked at was counted before, or is none of ours.
    old: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: Bytes,
    /// The last look that it came up in.
    look: u32,
}

impl Ledger {
    /// Goes on from what was counted before. `old`: flows that are there already count from their first look on.
    pub(super) fn new(carried: Carried, old: bool) -> Self {
        Ledger { carried, old, ..Ledger::default() }
    }

    /// A look at all flows begins.
    pub(super) fn begin(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// A flow comes up in it.
    pub(super) fn see<'a>(
        &mut self,
        flow: &Flow,
        owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>,
    ) {
        let Some(bytes) = flow.bytes else { return };
        let (key, look) = (self.key(flow), self.look);
        if self.ended.contains(&key) {
            return;
        }
        let more = match self.seen.entry(key) {
            Entry::Occupied(mut seen) => {
                let before = seen.insert(Seen { bytes, look }).bytes;
                beyond(bytes, before)
            }
            Entry::Vacant(place) => {
                place.insert(Seen { bytes, look });
                if self.old { Bytes::default() } else { bytes }
            }
        };
        self.add(more, owners);
    }

    /// It is over. Who did not come up has ended without that anybody told of it.
    pub(super) fn finish(&mut self) {
        let look = self.look;
        self.seen.retain(|_, seen| seen.look == look);
        self.ended.clear();
        self.old = false;
        if self.seen.capacity() > 4 * self.seen.len() {
            self.seen.shrink_to(2 * self.seen.len());
        }
    }

    /// A flow has ended.
    pub(super) fn end<'a>(
        &mut self,
        flow: &Flow,
        owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>,
    ) {
        let Some(bytes) = flow.bytes else { return };
        let key = self.key(flow);
        self.ended.insert(key);
        let more = match self.seen.remove(&key) {
            Some(seen) => beyond(bytes, seen.bytes),
            None if self.old => Bytes::default(),
            None => bytes,
        };
        self.add(more, owners);
    }

    /// Totals as of now.
    pub(super) fn carried(&self) -> &Carried {
        &self.carried
    }

    fn add<'a>(&mut self, more: Bytes, owners: impl Iterator<Item = (&'a ServiceName, &'a BackendName)>) {
        if more == Bytes::default() {
            return;
        }
        for (service, backend) in owners {
            if !self.carried.contains_key(service) {
                self.carried.insert(service.clone(), BTreeMap::new());
            }
            let Some(backends) = self.carried.get_mut(service) else { continue };
            let sum = match backends.get_mut(backend) {
                Some(sum) => sum,
                None => backends.entry(backend.clone()).or_default(),
            };
            sum.incoming += more.incoming;
            sum.outgoing += more.outgoing;
        }
    }

    /// The kernel's ids are short, and come again.
    fn key(&self, flow: &Flow) -> u64 {
        self.seen.hasher().hash_one((flow.id, flow.client, flow.to, flow.protocol, flow.zone))
    }
}

fn beyond(bytes: Bytes, before: Bytes) -> Bytes {
    Bytes {
        incoming: bytes.incoming.saturating_sub(before.incoming),
        outgoing: bytes.outgoing.saturating_sub(before.outgoing),
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

    fn look(ledger: &mut Ledger, flows: &[Flow], backend: &str) {
        let (service, backend) = names(backend);
        ledger.begin();
        flows.iter().for_each(|flow| ledger.see(flow, [(&service, &backend)].into_iter()));
        ledger.finish();
    }

    fn end(ledger: &mut Ledger, flow: &Flow, backend: &str) {
        let (service, backend) = names(backend);
        ledger.end(flow, [(&service, &backend)].into_iter());
    }

    fn incoming(ledger: &Ledger, backend: &str) -> u64 {
        let (service, backend) = names(backend);
        let bytes = ledger.carried.get(&service).and_then(|backends| backends.get(&backend)).copied();
        let bytes = bytes.unwrap_or_default();
        assert_eq!(bytes.outgoing, 2 * bytes.incoming);
        bytes.incoming
    }

    #[test]
    fn flow_that_ends_between_looks_counts_once() {
        let mut ledger = Ledger::new(Carried::new(), false);
        look(&mut ledger, &[flow(1, 100)], "a");
        assert_eq!(incoming(&ledger, "a"), 100);
        end(&mut ledger, &flow(1, 130), "a");
        assert_eq!(incoming(&ledger, "a"), 130);
        // The look was under way when it ended: it still came up.
        look(&mut ledger, &[flow(1, 130), flow(2, 5)], "a");
        assert_eq!(incoming(&ledger, "a"), 135);
        end(&mut ledger, &flow(3, 7), "a");
        look(&mut ledger, &[flow(2, 5)], "a");
        assert_eq!(incoming(&ledger, "a"), 142, "and one that never came up");
    }

    #[test]
    fn flow_that_ends_unheard_keeps_what_was_counted() {
        let mut ledger = Ledger::new(Carried::new(), false);
        look(&mut ledger, &[flow(1, 100), flow(2, 1)], "a");
        look(&mut ledger, &[flow(2, 1)], "a");
        assert_eq!((incoming(&ledger, "a"), ledger.seen.len()), (101, 1));
        // Its number comes again.
        look(&mut ledger, &[flow(1, 3), flow(2, 1)], "a");
        assert_eq!(incoming(&ledger, "a"), 104);
    }

    #[test]
    fn flow_counts_for_whom_it_is_of_when_it_is_looked_at() {
        let mut ledger = Ledger::new(Carried::new(), false);
        look(&mut ledger, &[flow(1, 100)], "a");
        look(&mut ledger, &[flow(1, 120)], "b");
        end(&mut ledger, &flow(1, 125), "c");
        assert_eq!(["a", "b", "c"].map(|name| incoming(&ledger, name)), [100, 20, 5]);
    }

    #[test]
    fn flows_that_are_old_count_from_their_first_look_on() {
        let (service, backend) = names("a");
        let before = Bytes { incoming: 50, outgoing: 100 };
        let mut ledger = Ledger::new([(service, [(backend, before)].into())].into(), true);
        end(&mut ledger, &flow(3, 9), "a");
        look(&mut ledger, &[flow(1, 100), flow(3, 9)], "a");
        assert_eq!(incoming(&ledger, "a"), 50);
        look(&mut ledger, &[flow(1, 101), flow(2, 10)], "a");
        assert_eq!(incoming(&ledger, "a"), 61);
    }

    #[test]
    fn flow_whose_bytes_nobody_counts_counts_nothing() {
        let mut ledger = Ledger::new(Carried::new(), false);
        let none = Flow { bytes: None, ..flow(1, 0) };
        look(&mut ledger, &[none], "a");
        end(&mut ledger, &none, "a");
        assert_eq!((ledger.carried.len(), ledger.seen.len()), (0, 0));
    }

    proptest! {
        /// Whatever flows do between looks and in them, and whatever the kernel tells of their ends.
        #[test]
        fn total_is_what_flows_carried_and_at_least_what_anybody_saw(
            steps in prop::collection::vec((0u32..6, 0u64..50, 0u8..8), 0..80)
        ) {
            let mut ledger = Ledger::new(Carried::new(), false);
            let mut live = BTreeMap::<u32, u64>::new();
            let (mut sent, mut unheard, mut last) = (0, 0, 0);
            let mut generation = 0;
            for (which, bytes, what) in steps {
                match what {
                    // A packet.
                    0..=4 => {
                        *live.entry(which + generation).or_default() += bytes;
                        sent += bytes;
                    }
                    // An end that is told, or is not.
                    5 | 6 => if let Some(carried) = live.remove(&(which + generation)) {
                        match what {
                            5 => end(&mut ledger, &flow(which + generation, carried), "a"),
                            _ => unheard += carried,
                        }
                        generation += 6;
                    },
                    _ => {
                        let flows: Vec<_> = live.iter().map(|(id, bytes)| flow(*id, *bytes)).collect();
                        look(&mut ledger, &flows, "a");
                    }
                }
                let now = incoming(&ledger, "a");
                prop_assert!(last <= now && now <= sent);
                last = now;
            }
            let flows: Vec<_> = live.iter().map(|(id, bytes)| flow(*id, *bytes)).collect();
            look(&mut ledger, &flows, "a");
            prop_assert!(incoming(&ledger, "a") >= sent - unheard);
        }
    }
}
