//! Bounds of slots and map elements. Validation rejects a file beyond them, and the daemon refuses weights of
//! operators beyond them. Pure.

use sluice_nft::Ip;

use crate::model::{Backend, Listener, Service};
use crate::render::per_port::{MAX_ELEMENTS, elements_per_slot};
use crate::render::slots::{MAX_SLOTS, period};

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
            let listeners = service.listeners.iter().filter(|listener| service.takes(listener, ip));
            Excess::of_slots(service.fixed_grid, backends.clone()).or_else(|| {
                let mut listeners = listeners;
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
