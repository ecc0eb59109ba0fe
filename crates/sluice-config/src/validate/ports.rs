//! How the ports of listeners become those of backends: which pairs there is a way for.

use std::collections::BTreeMap;

use sluice_core::model::{Backend, BackendPort, Listener, Ports, Scheduler, Service};
use sluice_core::slots::{grid, period};
use sluice_nft::Ip;

use super::{Elements, takes};
use crate::place::Here;
use crate::problem::Fault;

/// Most ports of a range that takes a map element for each port and slot.
const MAX_SHIFTED: u32 = 4096;

/// Most map elements of a listener whose backends treat the port in different ways.
const MAX_ELEMENTS: u64 = 1 << 20;

/// Checks each listener's ports against each backend's, for each IP version.
pub(super) fn check(
    here: &Here<'_>,
    listeners: &Elements<Listener>,
    backends: &Elements<Backend>,
    policy: &Service,
) {
    for ip in Ip::ALL {
        let backends: Vec<_> =
            backends.good.iter().filter(|(_, backend)| Ip::of(backend.address) == ip).collect();
        // Listeners with the same ports behave alike: the first speaks for all.
        let mut shapes: BTreeMap<Ports, &(usize, Listener)> = BTreeMap::new();
        for listener in listeners.good.iter().filter(|(_, listener)| takes(listener, ip)) {
            shapes.entry(listener.1.ports).or_insert(listener);
        }
        for (index, backend) in &backends {
            let fault = match backend.port {
                BackendPort::Keep | BackendPort::One(_) => None,
                BackendPort::Range(ports) => {
                    shapes.values().find_map(|(_, listener)| mismatch(ports, listener))
                }
            };
            if let Some(fault) = fault {
                here.key("backends").index(*index).error(fault);
            }
        }
        for (index, listener) in shapes.values() {
            let needed = elements(listener.ports, policy, backends.iter().map(|(_, backend)| backend));
            let is_shifted = |ports: Ports| ports != listener.ports;
            let shifts =
                |backend: &Backend| matches!(backend.port, BackendPort::Range(ports) if is_shifted(ports));
            if needed > 0 && listener.ports.count() > MAX_SHIFTED {
                // A range that is shifted was named already.
                if !backends.iter().any(|(_, backend)| shifts(backend)) {
                    here.key("listen").index(*index).error(Fault::new(
                        format!("{listener} has more than {MAX_SHIFTED} ports, and some backends keep the port while others do not"),
                        "use a smaller range, or let all backends keep the port, or all name one",
                    ));
                }
            } else if needed > MAX_ELEMENTS {
                here.key("listen").index(*index).error(Fault::new(
                    format!("{listener} needs {needed} map elements, one for each port and slot, more than {MAX_ELEMENTS}"),
                    "use fewer ports or slots, or let all backends keep the port, or all name one",
                ));
            }
        }
    }
}

/// Why a listener's ports cannot become this range.
fn mismatch(range: Ports, listener: &Listener) -> Option<Fault> {
    let Ports { first, last } = range;
    let (theirs, ours) = (range.count(), listener.ports.count());
    if ours == 1 {
        let what = format!("a port range for {listener}, which has one port");
        Some(Fault::new(what, "name one port"))
    } else if theirs != ours {
        let what = format!("{first}-{last} has {theirs} ports, and {listener} has {ours}");
        Some(Fault::new(what, "name a range of the same size, one port, or none to keep the client's"))
    } else if range != listener.ports && ours > MAX_SHIFTED {
        let what = format!("{first}-{last} shifts {ours} ports of {listener}, more than {MAX_SHIFTED}");
        Some(Fault::new(what, "use a smaller range, or leave the port out to keep the client's"))
    } else {
        None
    }
}

/// Map elements that a listener needs for its ports; 0 when one rule does for all ports.
fn elements<'a>(
    ports: Ports,
    policy: &Service,
    backends: impl ExactSizeIterator<Item = &'a Backend> + Clone,
) -> u64 {
    let mut eligible = backends.clone().filter(|backend| backend.weight > 0);
    let one = |backend: &Backend| matches!(backend.port, BackendPort::One(_));
    if ports.as_single().is_some()
        || eligible.clone().all(one)
        || eligible.all(|backend| backend.port.keeps(ports))
    {
        return 0;
    }
    let on_grid = grid(backends.len()) as u64;
    let slots = match policy.scheduler {
        Scheduler::Maglev(_, size) => u64::from(size),
        _ if policy.fixed_grid => on_grid,
        _ => {
            let exact = u64::from(period(backends.map(|backend| backend.weight)));
            // Backends that come back slowly have shares of a grid for that time.
            if policy.slow_start.is_some() { exact.max(on_grid) } else { exact }
        }
    };
    u64::from(ports.count()) * slots
}
