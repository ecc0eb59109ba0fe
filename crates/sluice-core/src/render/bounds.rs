//! Bounds of slots and map elements. Validation rejects a file beyond them, and the daemon refuses weights of
//! operators beyond them. Weights that exceed them only since a reload are mapped to a fixed number of slots that fits.

use sluice_nft::Ip;

use crate::model::{Backend, BackendPort, Listener, Ports, Service};
use crate::render::slots::{MAX_SLOTS, grid, period};

/// Maximum number of ports of a listener whose backends treat the port in different ways: its map has an element
/// for each port and slot.
pub const MAX_PORTS: u32 = 4096;

/// Maximum number of map elements of such a listener.
pub const MAX_ELEMENTS: u32 = 1 << 20;

/// What the weights of a service need beyond a bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// More than [`MAX_SLOTS`] slots for the backends of one IP version.
    #[error("these weights need {0} slots; the maximum is {max}", max = MAX_SLOTS)]
    Slots(u32),
    /// More than [`MAX_ELEMENTS`] map elements for a listener.
    #[error("{0} needs {1} map elements, one per port and slot; the maximum is {max}", max = MAX_ELEMENTS)]
    Elements(Listener, u64),
}

impl Excess {
    /// The excess of a service, which is valid apart from its weights. Backends without eligibility count, because
    /// they can become eligible at any time.
    pub fn of(service: &Service) -> Option<Self> {
        Ip::ALL.into_iter().find_map(|ip| {
            let backends = service.backends.iter().filter(|backend| Ip::of(backend.address) == ip);
            let mut listeners = service.listeners.iter().filter(|listener| service.takes(listener, ip));
            Excess::of_slots(service.fixed_grid, backends.clone()).or_else(|| {
                listeners.find_map(|listener| Excess::of_elements(service, listener, backends.clone()))
            })
        })
    }

    /// The excess of slots for the backends of one IP version.
    pub fn of_slots<'a>(
        fixed_grid: bool,
        backends: impl Iterator<Item = &'a Backend> + Clone,
    ) -> Option<Self> {
        if fixed_grid {
            return None;
        }
        let slots = period(backends.map(|backend| backend.weight));
        (slots > MAX_SLOTS).then_some(Excess::Slots(slots))
    }

    /// The excess of map elements of a listener for its backends of one IP version. The backends may be those of a
    /// service that is not complete yet.
    pub fn of_elements<'a>(
        service: &Service,
        listener: &Listener,
        backends: impl Iterator<Item = &'a Backend> + Clone,
    ) -> Option<Self> {
        let per_slot = elements_per_slot(listener.ports, backends.clone());
        let needed = u64::from(per_slot) * u64::from(service.scheduler.slots_needed(service, backends));
        (per_slot > 1 && needed > u64::from(MAX_ELEMENTS)).then_some(Excess::Elements(*listener, needed))
    }

    /// What to do.
    pub fn fix(&self) -> &'static str {
        match self {
            Excess::Slots(_) => "use weights with a common divisor",
            Excess::Elements(..) => "use fewer ports or slots, or let all backends keep the port, or none",
        }
    }
}

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
