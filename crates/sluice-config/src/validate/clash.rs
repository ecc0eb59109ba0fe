//! Listeners that take the same packets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sluice_core::model::{Address, InterfaceName, Listener, Ports, Protocol};
use sluice_nft::Ip;

use super::{Draft, DraftListener};
use crate::problem::{Fault, quoted};
use crate::read::Given;
use crate::yaml_path::Findings;

/// Reports each listener of an enabled service that gets no packets because of another one.
///
/// Listeners that overlap are no conflict, because the most specific one gets the packets. Conflicts are equal
/// listeners, overlapping ranges, and an exact listener with an interface if there is one without, which has
/// precedence.
pub(super) fn check(findings: &Findings, drafts: &[Draft]) {
    let mut taken = ClaimedListeners::default();
    for draft in drafts.iter().filter(|draft| draft.policy.enabled) {
        let interface = match &draft.interface {
            Given::Good(interface) => Some(interface),
            Given::Absent => None,
            Given::Bad => continue,
        };
        for at in draft.draft_listeners() {
            let Listener { protocol, .. } = *at.listener;
            let earlier = versions(at)
                .filter_map(|(ip, address)| taken.claim(ClashKey { ip, address, interface, protocol }, at));
            // All IP versions are claimed; one report is enough.
            if let Some(earlier) = earlier.reduce(|first, _| first) {
                report(findings, at, earlier);
            }
        }
    }
    taken.unreachable().for_each(|(listener, first)| report_unreachable(findings, listener, first));
}

/// The IP versions that a listener takes, with its address; `*` takes the versions of the backends.
fn versions(at: DraftListener<'_>) -> impl Iterator<Item = (Ip, Option<IpAddr>)> {
    let backends = &at.draft.backends;
    let versions = Ip::ALL.map(|ip| match at.listener.address {
        Address::Exact(address) => (Ip::of(address) == ip).then_some((ip, Some(address))),
        // The versions are unknown if a backend is invalid, which is an error anyway.
        Address::Any if !backends.complete => None,
        Address::Any => {
            let used =
                backends.good.is_empty() || backends.iter().any(|backend| Ip::of(backend.address) == ip);
            used.then_some((ip, None))
        }
    });
    versions.into_iter().flatten()
}

/// Listeners with an equal key can conflict.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ClashKey<'a> {
    ip: Ip,
    address: Option<IpAddr>,
    interface: Option<&'a InterfaceName>,
    protocol: Protocol,
}

#[derive(Default)]
struct ClaimedListeners<'a> {
    /// Listeners with one port, and with all ports.
    single: HashMap<(ClashKey<'a>, Option<u16>), DraftListener<'a>>,
    /// Listeners with a range, by first port. They do not overlap.
    ranges: HashMap<ClashKey<'a>, BTreeMap<u16, DraftListener<'a>>>,
}

impl<'a> ClaimedListeners<'a> {
    /// Adds a listener, or returns the one it conflicts with.
    fn claim(&mut self, key: ClashKey<'a>, at: DraftListener<'a>) -> Option<DraftListener<'a>> {
        let ports = at.listener.ports;
        if ports == Ports::ALL || ports.as_single().is_some() {
            let mut claimed = false;
            let first = *self.single.entry((key, ports.as_single())).or_insert_with(|| {
                claimed = true;
                at
            });
            return (!claimed).then_some(first);
        }
        let ranges = self.ranges.entry(key).or_default();
        // Ranges that do not overlap have the same order by first and by last port.
        let before = ranges.range(..=ports.last).next_back().map(|(_, at)| *at);
        if let Some(earlier) = before.filter(|earlier| earlier.listener.ports.overlaps(ports)) {
            return Some(earlier);
        }
        ranges.insert(ports.first, at);
        None
    }

    /// Exact listeners with an interface, each with the equal one without, in no order.
    fn unreachable(&self) -> impl Iterator<Item = (DraftListener<'a>, DraftListener<'a>)> {
        self.single.iter().filter_map(|((key, port), at)| {
            key.interface.filter(|_| key.address.is_some() && port.is_some())?;
            let everywhere = ClashKey { interface: None, ..*key };
            Some((*at, *self.single.get(&(everywhere, *port))?))
        })
    }
}

fn report(findings: &Findings, at: DraftListener<'_>, earlier: DraftListener<'_>) {
    let listener = at.listener;
    let owner = quoted(&earlier.draft.key);
    let what = if listener == earlier.listener {
        format!("{listener} is already a listener of service {owner}")
    } else {
        format!("{listener} overlaps {} of service {owner}", earlier.listener)
    };
    let fault = Fault::new(what, "change the address, the protocol or the ports of one of them");
    at.at(findings, |here| here.error_because_of(fault, earlier.path(findings)));
}

fn report_unreachable(findings: &Findings, at: DraftListener<'_>, first: DraftListener<'_>) {
    let what = format!(
        "{} is unreachable: service {} listens there on all interfaces",
        at.listener,
        quoted(&first.draft.key)
    );
    let fault = Fault::new(what, "remove one of them, or give both an interface");
    at.at(findings, |here| here.error_because_of(fault, first.path(findings)));
}
