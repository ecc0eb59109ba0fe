//! Backends, or ports of probes, that are listeners themselves: their connections would be balanced again.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sluice_core::model::{Address, Backend, BackendPort, Listener, Ports, Protocol};
use sluice_nft::Ip;

use super::{Draft, DraftListener, takes};
use crate::problem::{Fault, quoted};
use crate::yaml_path::Findings;

/// Reports each backend whose connections or probes go to a listener of an enabled service.
pub(super) fn check(findings: &Findings, drafts: &[Draft]) {
    let doors = ListenerIndex::of(drafts);
    for draft in drafts {
        for (index, backend) in &draft.backends.good {
            let door =
                draft.listeners.iter().filter(|listener| takes(listener, Ip::of(backend.address))).find_map(
                    |listener| {
                        doors.find(backend.address, listener.protocol, reached(backend.port, listener))
                    },
                );
            let name = &backend.name;
            let (what, fix, door) = match (door, probed(&doors, draft, backend)) {
                (Some(door), _) => (format!("backend {name} is"), "use the address of a server", door),
                (None, Some(door)) => {
                    (format!("the probe of backend {name} goes to"), "probe another port", door)
                }
                (None, None) => continue,
            };
            let DraftListener { draft: owner, listener, .. } = door;
            let what = format!("{what} listener {listener} of service {}", quoted(&owner.key));
            let fix = format!("{fix}: connections to a listener are balanced again");
            draft.at(findings, |here| {
                let here = here.key("backends");
                here.index(*index).error_because_of(Fault::new(what, fix), door.path(findings));
            });
        }
    }
}

/// The listener that a probe of a backend would reach.
fn probed<'a>(doors: &ListenerIndex<'a>, draft: &Draft, backend: &Backend) -> Option<DraftListener<'a>> {
    let check = draft.policy.health.as_ref()?;
    let protocol = check.probe.protocol()?;
    let port = check.port.or_else(|| backend.port_behind(draft.listeners.iter()))?;
    doors.find(backend.address, protocol, Ports::single(port))
}

/// The ports of a backend that connections to a listener reach.
fn reached(port: BackendPort, listener: &Listener) -> Ports {
    match port {
        BackendPort::Keep => listener.ports,
        BackendPort::One(port) => Ports::single(port),
        BackendPort::Range(ports) => ports,
    }
}

/// Listeners of enabled services by address.
#[derive(Default)]
struct ListenerIndex<'a> {
    single: BTreeMap<(IpAddr, Protocol, u16), DraftListener<'a>>,
    ranges: HashMap<(IpAddr, Protocol), Vec<DraftListener<'a>>>,
}

impl<'a> ListenerIndex<'a> {
    fn of(drafts: &'a [Draft]) -> Self {
        let mut doors = ListenerIndex::default();
        for door in drafts.iter().filter(|draft| draft.policy.enabled).flat_map(Draft::draft_listeners) {
            let Listener { address, ports, protocol } = *door.listener;
            let Address::Exact(address) = address else { continue };
            match ports.as_single() {
                Some(port) => {
                    doors.single.entry((address, protocol, port)).or_insert(door);
                }
                None => doors.ranges.entry((address, protocol)).or_default().push(door),
            }
        }
        doors
    }

    fn find(&self, address: IpAddr, protocol: Protocol, ports: Ports) -> Option<DraftListener<'a>> {
        let single =
            self.single.range((address, protocol, ports.first)..=(address, protocol, ports.last)).next();
        single.map(|(_, door)| *door).or_else(|| {
            self.ranges
                .get(&(address, protocol))?
                .iter()
                .find(|door| door.listener.ports.overlaps(ports))
                .copied()
        })
    }
}
