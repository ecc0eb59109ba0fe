//! Bounds for listeners on several ports whose backends treat the port in different ways: their maps have an
//! element for each port and slot. Validation rejects a file that needs too many elements, and the daemon refuses such
//! weights of operators. Weights that need too many only since a reload are mapped to a fixed number of slots that fits.

use crate::model::{Backend, BackendPort, Listener, Ports, Service};
use crate::render::slots::{MAX_SLOTS, grid, period};
use sluice_nft::Ip;

/// Maximum number of ports of such a listener.
pub const MAX_PORTS: u32 = 4096;

/// Maximum number of map elements of such a listener.
pub const MAX_ELEMENTS: u32 = 1 << 20;

/// Number of map elements per slot of a listener on these ports: one, or one per port.
pub fn elements_per_slot<'a>(ports: Ports, backends: impl Iterator<Item = &'a Backend> + Clone) -> u32 {
    let are_alike = ports.as_single().is_some()
        || backends.clone().all(|backend| matches!(backend.port, BackendPort::One(_)))
        || backends.clone().all(|backend| backend.port.keeps(ports));
    if are_alike { 1 } else { ports.count() }
}

/// Whether the weights need more slots than the bound permits, so that they are mapped to a fixed number of
/// slots.
pub(crate) fn is_too_fine(service: &Service) -> bool {
    Ip::ALL.into_iter().any(|ip| {
        let backends = service.backends.iter().filter(|backend| Ip::of(backend.address) == ip);
        let serving = backends.filter(|backend| backend.weight > 0);
        let slots = period(serving.clone().map(|backend| backend.weight));
        let listeners = service.listeners.iter().filter(|listener| service.takes(listener, ip));
        let most = listeners
            .map(|listener: &Listener| most_slots(elements_per_slot(listener.ports, serving.clone())));
        slots > most.min().unwrap_or(MAX_SLOTS)
    })
}

/// The fixed number of slots for this number of backends; each backend can have a slot.
pub(crate) fn slots_on_grid(members: usize, elements_per_slot: u32) -> usize {
    grid(members).min(most_slots(elements_per_slot) as usize).max(members)
}

fn most_slots(elements_per_slot: u32) -> u32 {
    MAX_SLOTS.min(MAX_ELEMENTS / elements_per_slot.max(1))
}
