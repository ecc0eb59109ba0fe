//! Listeners that would take each other's packets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sluice_core::model::{Address, InterfaceName, Listener, Ports, Protocol};
use sluice_nft::Ip;

use super::{Draft, Holder};
use crate::place::Findings;
use crate::problem::{Fault, quoted};
use crate::read::Given;

/// Reports each listener of an enabled service that an earlier one leaves nothing to.
///
/// Where packets match several listeners, the narrower one gets them: that is no clash. What
/// remains is equality, ranges that overlap, and an exact listener with an interface beside one
/// without, which goes first.
pub(super) fn check(findings: &Findings, drafts: &[Draft]) {
    let mut taken = Taken::default();
    for draft in drafts.iter().filter(|draft| draft.policy.enabled) {
        let interface = match &draft.interface {
            Given::Good(interface) => Some(interface),
            Given::Absent => None,
            Given::Bad => continue,
        };
        for holder in draft.holders() {
            let Listener { protocol, .. } = *holder.listener;
            let earlier = versions(holder)
                .filter_map(|(ip, address)| taken.claim(Scope { ip, address, interface, protocol }, holder));
            // All versions claim; one report is enough.
            if let Some(earlier) = earlier.reduce(|first, _| first) {
                report(findings, holder, earlier);
            }
        }
    }
    taken.unreachable().for_each(|(listener, first)| report_unreachable(findings, listener, first));
}

/// The IP versions a listener takes packets of, with its address; for `*` those of the backends.
fn versions(holder: Holder<'_>) -> impl Iterator<Item = (Ip, Option<IpAddr>)> {
    let backends = &holder.draft.backends;
    let versions = Ip::ALL.map(|ip| match holder.listener.address {
        Address::Exact(address) => (Ip::of(address) == ip).then_some((ip, Some(address))),
        // With a backend missing there is no telling; it gets its error anyway.
        Address::Any if !backends.complete => None,
        Address::Any => {
            let used =
                backends.good.is_empty() || backends.iter().any(|backend| Ip::of(backend.address) == ip);
            used.then_some((ip, None))
        }
    });
    versions.into_iter().flatten()
}

/// What two listeners must share to clash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Scope<'a> {
    ip: Ip,
    address: Option<IpAddr>,
    interface: Option<&'a InterfaceName>,
    protocol: Protocol,
}

#[derive(Default)]
struct Taken<'a> {
    /// Listeners on one port, and on `*`.
    single: HashMap<(Scope<'a>, Option<u16>), Holder<'a>>,
    /// Listeners on ranges by their first port. Only what does not overlap gets in.
    ranges: HashMap<Scope<'a>, BTreeMap<u16, Holder<'a>>>,
}

impl<'a> Taken<'a> {
    /// Adds a listener, or returns the one it clashes with.
    fn claim(&mut self, scope: Scope<'a>, holder: Holder<'a>) -> Option<Holder<'a>> {
        let ports = holder.listener.ports;
        if ports == Ports::ALL || ports.as_single().is_some() {
            let mut claimed = false;
            let first = *self.single.entry((scope, ports.as_single())).or_insert_with(|| {
                claimed = true;
                holder
            });
            return (!claimed).then_some(first);
        }
        let ranges = self.ranges.entry(scope).or_default();
        // Ranges that do not overlap are ordered by their last ports as well as by their first.
        let before = ranges.range(..=ports.last).next_back().map(|(_, holder)| *holder);
        if let Some(earlier) = before.filter(|earlier| earlier.listener.ports.overlaps(ports)) {
            return Some(earlier);
        }
        ranges.insert(ports.first, holder);
        None
    }

    /// Exact listeners with an interface for which there is an equal one without, in no order.
    fn unreachable(&self) -> impl Iterator<Item = (Holder<'a>, Holder<'a>)> {
        self.single.iter().filter_map(|((scope, port), holder)| {
            scope.interface.filter(|_| scope.address.is_some() && port.is_some())?;
            let everywhere = Scope { interface: None, ..*scope };
            Some((*holder, *self.single.get(&(everywhere, *port))?))
        })
    }
}

fn report(findings: &Findings, holder: Holder<'_>, earlier: Holder<'_>) {
    let listener = holder.listener;
    let owner = quoted(&earlier.draft.key);
    let what = if listener == earlier.listener {
        format!("{listener} is already a listener of service {owner}")
    } else {
        format!("{listener} overlaps {} of service {owner}", earlier.listener)
    };
    let fault = Fault::new(what, "change the address, the protocol or the ports of one of them");
    holder.at(findings, |here| here.error_because_of(fault, earlier.place(findings)));
}

fn report_unreachable(findings: &Findings, holder: Holder<'_>, first: Holder<'_>) {
    let what = format!(
        "{} with an interface is never reached, for all interfaces it belongs to service {}",
        holder.listener,
        quoted(&first.draft.key)
    );
    let fault = Fault::new(what, "remove one of them, or give both an interface");
    holder.at(findings, |here| here.error_because_of(fault, first.place(findings)));
}
