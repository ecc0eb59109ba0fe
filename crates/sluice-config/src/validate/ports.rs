//! Translation of listener ports to backend ports: which combinations the ruleset can express.

use std::collections::BTreeMap;

use sluice_core::model::{Backend, BackendPort, Listener, Ports, Service};
use sluice_core::render::bounds::{Excess, MAX_PORTS, elements_per_slot};
use sluice_nft::Ip;

use super::{Elements, takes};
use crate::problem::Fault;
use crate::yaml_path::Here;

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
        // Listeners with the same ports have the same result: check the first.
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
            // Backends of weight 0 count: operators can change weights at run time.
            let all = backends.iter().map(|(_, backend)| backend);
            let per_slot = elements_per_slot(listener.ports, all.clone());
            let is_shifted = |ports: Ports| ports != listener.ports;
            let shifts =
                |backend: &Backend| matches!(backend.port, BackendPort::Range(ports) if is_shifted(ports));
            if per_slot > MAX_PORTS {
                // A shifted range was reported above.
                if !backends.iter().any(|(_, backend)| shifts(backend)) {
                    here.key("listen").index(*index).error(Fault::new(
                        format!("{listener} has more than {MAX_PORTS} ports, but some backends keep the port while others do not"),
                        "use a smaller range, or let all backends keep the port, or none",
                    ));
                }
            } else if let Some(excess) = Excess::of_elements(policy, listener, all) {
                here.key("listen").index(*index).error(Fault::new(excess.to_string(), excess.fix()));
            }
        }
    }
}

/// Why the ports of a listener cannot be translated to `range`.
fn mismatch(range: Ports, listener: &Listener) -> Option<Fault> {
    let Ports { first, last } = range;
    let (theirs, ours) = (range.count(), listener.ports.count());
    if ours == 1 {
        let what = format!("the backend has a port range, but {listener} has one port");
        Some(Fault::new(what, "write one port"))
    } else if theirs != ours {
        let what = format!("{first}-{last} has {theirs} ports, but {listener} has {ours}");
        Some(Fault::new(what, "write a range of the same size, or one port, or omit it to keep the client's"))
    } else if range != listener.ports && ours > MAX_PORTS {
        let what = format!("{first}-{last} shifts {ours} ports of {listener}; the maximum is {MAX_PORTS}");
        Some(Fault::new(what, "use a smaller range, or omit the port to keep the client's"))
    } else {
        None
    }
}
