//! Schedulers: the number of slots of a listener, the backend of each slot, and the expression that picks a
//! slot.

use sluice_nft::{Field, Ip, SlotExpr};

use super::frontend::Frontend;
use super::names::PickBy;
use crate::model::{Backend, HashOn, Scheduler, Service};
use crate::render::maglev;
use crate::render::per_port::{elements_per_slot, slots_on_grid};
use crate::render::slots::{on_grid, period, slots};

/// Initial value of the hash. It is fixed, so that the same file gives a client the same backend after a
/// restart and on another machine. ASCII "slui".
const HASH_SEED: u32 = 0x736c_7569;

impl Scheduler {
    /// The slot expression of a shared pick chain; `None`: each listener needs a counter, and thus a chain,
    /// of its own.
    pub(super) fn shared(self) -> Option<PickBy> {
        match self {
            Scheduler::RoundRobin | Scheduler::LeastConnections => None,
            // With a single slot, a random number picks the same slot.
            Scheduler::Random | Scheduler::First => Some(PickBy::Random),
            Scheduler::SourceHash(HashOn::Address) => Some(PickBy::Hash),
            Scheduler::SourceHash(HashOn::AddressAndPort) => Some(PickBy::HashWithPort),
            Scheduler::Maglev(HashOn::Address, _) => Some(PickBy::Maglev),
            Scheduler::Maglev(HashOn::AddressAndPort, _) => Some(PickBy::MaglevWithPort),
        }
    }

    /// The expression that picks one of `modulus` slots from number `offset`.
    pub(super) fn pick(self, ip: Ip, modulus: u32, offset: u32) -> SlotExpr {
        match self {
            Scheduler::RoundRobin | Scheduler::LeastConnections => SlotExpr::Inc { modulus, offset },
            Scheduler::Random | Scheduler::First => SlotExpr::Random { modulus, offset },
            Scheduler::SourceHash(on) | Scheduler::Maglev(on, _) => {
                let on = match on {
                    HashOn::Address => vec![Field::Saddr(ip)],
                    HashOn::AddressAndPort => vec![Field::Saddr(ip), Field::Sport],
                };
                SlotExpr::Jhash { on, modulus, seed: HASH_SEED, offset }
            }
        }
    }

    /// Whether the expression reads the client's address.
    pub(super) fn reads_client(self) -> bool {
        match self {
            Scheduler::RoundRobin | Scheduler::LeastConnections | Scheduler::Random | Scheduler::First => {
                false
            }
            Scheduler::SourceHash(_) | Scheduler::Maglev(..) => true,
        }
    }

    /// The backend of each slot, as an index into the eligible backends of the frontend.
    pub(super) fn slots(self, frontend: &Frontend<'_>) -> Vec<usize> {
        let weights = || frontend.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>();
        match self {
            Scheduler::First => (0..frontend.backends.len().min(1)).collect(),
            Scheduler::Maglev(_, size) => {
                let backends = frontend.service.backends.iter().enumerate();
                let members: Vec<_> = backends
                    .filter(|(_, backend)| Ip::of(backend.address) == frontend.ip)
                    .map(|(index, backend)| maglev::Member {
                        name: backend.name.as_str(),
                        nominal: *frontend.service.nominal_weights.get(index).unwrap_or(&backend.weight),
                        current: backend.weight,
                    })
                    .collect();
                let before = |index: usize| members[..index].iter().filter(|member| member.current > 0).count();
                let serving: Vec<_> = (0..members.len()).map(before).collect();
                maglev::table(&members, size).into_iter().map(|member| serving[member]).collect()
            }
            Scheduler::RoundRobin
            | Scheduler::LeastConnections
            | Scheduler::Random
            | Scheduler::SourceHash(_) => match frontend.service.fixed_grid {
                true => {
                    let each = elements_per_slot(frontend.listener.ports, frontend.backends.iter().copied());
                    on_grid(&weights(), slots_on_grid(frontend.members().count(), each))
                }
                false => slots(&weights()),
            },
        }
    }

    /// Number of slots that a listener needs for the weights in the file of its backends of one IP version.
    /// If it is within [`MAX_ELEMENTS`](crate::render::per_port::MAX_ELEMENTS), weights set at run time do
    /// not exceed the bound either: each backend can have a slot.
    pub fn slots_needed<'a>(
        self,
        service: &Service,
        backends: impl Iterator<Item = &'a Backend> + Clone,
    ) -> u32 {
        let members = backends.clone().count() as u32;
        match self {
            Scheduler::First => 1,
            Scheduler::Maglev(_, size) => size,
            Scheduler::RoundRobin
            | Scheduler::LeastConnections
            | Scheduler::Random
            | Scheduler::SourceHash(_) => match service.fixed_grid {
                true => members,
                false => members.max(period(backends.map(|backend| backend.weight))),
            },
        }
    }
}
