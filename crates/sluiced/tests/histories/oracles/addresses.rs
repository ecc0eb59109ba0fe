//! The interface has the addresses of ready services that are announced, and no others of ours.

use std::collections::BTreeSet;

use crate::history::{History, Verdict};

pub fn are_right(history: &mut History<'_>) -> Verdict {
    let model = &history.model;
    let mut expected = BTreeSet::new();
    for (name, service) in model.services().iter().filter(|(_, service)| service.announce) {
        let ready = model.is_ready(name, service);
        history.reach.hit(if ready {
            "addresses: announced"
        } else {
            "addresses: of a service that is not ready"
        });
        expected.extend(service.listeners.iter().filter_map(|it| it.address.exact()).filter(|_| ready));
    }
    let there: BTreeSet<_> =
        history.machine.addresses.all().into_iter().filter(|it| it.is_ours).map(|it| it.address).collect();
    match there == expected {
        true => Ok(()),
        false => Err(format!("the interface has {there:?}, not {expected:?}")),
    }
}
