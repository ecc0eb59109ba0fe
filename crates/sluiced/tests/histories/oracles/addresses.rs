//! The interface has the addresses of ready services that are announced, no others of ours, and all of others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sluice_api::{AddressState, Status};

use crate::history::{History, Verdict};

pub fn are_right(history: &mut History<'_>, status: &Status) -> Verdict {
    let model = &history.model;
    let (mut expected, mut served) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in model.services().iter().filter(|(_, service)| service.enabled && service.announce)
    {
        let ready = model.is_ready(name, service);
        history.reach.hit(match ready {
            true => "addresses: announced",
            false if model.has_left => "addresses: of a node that has left",
            false => "addresses: of a service that is not ready",
        });
        let addresses = || service.listeners.iter().filter_map(|it| it.address.exact());
        served.extend(addresses());
        expected.extend(addresses().filter(|_| ready));
    }
    let on = |ours| -> BTreeSet<IpAddr> {
        let all = history.machine.addresses.all().into_iter();
        all.filter(|it| it.is_ours == ours && it.interface == "lo").map(|it| it.address).collect()
    };
    let (ours, foreign) = (on(true), on(false));
    if foreign != model.foreign_addresses {
        return Err(format!("others put {:?} there, and there is {foreign:?}", model.foreign_addresses));
    }
    if !ours.is_subset(&expected) || !expected.is_subset(&(&ours | &foreign)) {
        return Err(format!("the interface has {ours:?} and of others {foreign:?}, not {expected:?}"));
    }
    if status.node.left.is_some() != model.has_left {
        return Err(format!("the node has left: {:?}", status.node.left));
    }
    let mut hits = vec![];
    for shown in &status.announce.addresses {
        let expected = match (ours.contains(&shown.address), foreign.contains(&shown.address)) {
            (true, _) => AddressState::Announced,
            (false, true) => AddressState::Foreign,
            (false, false) => AddressState::Withdrawn,
        };
        // After a start it may not be known yet whether the service is ready.
        let is_held = shown.state == AddressState::Held && expected == AddressState::Withdrawn;
        if shown.state != expected && !is_held {
            return Err(format!("status shows {shown:?}, not {expected:?}"));
        }
        if expected == AddressState::Foreign {
            hits.push("addresses: of a service, put there by others");
        }
    }
    let shown: BTreeSet<_> = status.announce.addresses.iter().map(|shown| shown.address).collect();
    if shown != served || status.announce.error.is_some() {
        return Err(format!("status shows {:?}, not {served:?}", status.announce));
    }
    hits.into_iter().for_each(|hit| history.reach.hit(hit));
    Ok(())
}

/// What a daemon left that was stopped in order.
pub fn were_withdrawn(history: &History<'_>) -> Verdict {
    let ours: Vec<_> = history.machine.addresses.all().into_iter().filter(|it| it.is_ours).collect();
    if ours.is_empty() { Ok(()) } else { Err(format!("addresses after a stop: {ours:?}")) }
}
