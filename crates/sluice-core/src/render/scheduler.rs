//! Schedulers: the number of slots of a listener, the backend of each slot, and the expression that picks a
//! slot.

use sluice_nft::{Field, Ip, SlotExpr};

use super::frontend::Frontend;
use super::names::PickBy;
use crate::model::Scheduler::{First, LeastConnections, Maglev, Random, RoundRobin, SourceHash};
use crate::model::{Backend, HashOn, Scheduler, Service};
use crate::render::bounds::{elements_per_slot, slots_on_grid};
use crate::render::maglev;
use crate::render::slots::{on_grid, period, slots};

/// Initial value of the hash. It is fixed, so that the same file gives a client the same backend after a
/// restart and on another machine. ASCII "slui".
const HASH_SEED: u32 = 0x736c_7569;

impl Scheduler {
    /// The slot expression of a shared pick chain; `None`: each listener needs a counter, and thus a chain,
    /// of its own.
    pub(super) fn shared(self) -> Option<PickBy> {
        match self {
            RoundRobin | LeastConnections => None,
            // With a single slot, a random number picks the same slot.
            Random | First => Some(PickBy::Random),
            SourceHash(HashOn::Address) => Some(PickBy::Hash),
            SourceHash(HashOn::AddressAndPort) => Some(PickBy::HashWithPort),
            Maglev(HashOn::Address, _) => Some(PickBy::Maglev),
            Maglev(HashOn::AddressAndPort, _) => Some(PickBy::MaglevWithPort),
        }
    }

    /// The expression that picks one of `modulus` slots from number `offset`.
    pub(super) fn pick(self, ip: Ip, modulus: u32, offset: u32) -> SlotExpr {
        match self {
            RoundRobin | LeastConnections => SlotExpr::Inc { modulus, offset },
            Random | First => SlotExpr::Random { modulus, offset },
            SourceHash(on) | Maglev(on, _) => {
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
            RoundRobin | LeastConnections | Random | First => false,
            SourceHash(_) | Maglev(..) => true,
        }
    }

    /// The backend of each slot, as an index into the eligible backends of the frontend.
    pub(super) fn slots(self, frontend: &Frontend<'_>) -> Vec<usize> {
        let weights = || frontend.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>();
        match self {
            First => (0..frontend.backends.len().min(1)).collect(),
            Maglev(_, size) => {
                let backends = frontend.service.backends.iter().enumerate();
                let members: Vec<_> = backends
                    .filter(|(_, backend)| Ip::of(backend.address) == frontend.ip)
                    .map(|(index, backend)| maglev::Member {
                        name: backend.name.as_str(),
                        nominal: *frontend.service.nominal_weights.get(index).unwrap_or(&backend.weight),
                        current: backend.weight,
                    })
                    .collect();
                let before =
                    |index: usize| members[..index].iter().filter(|member| member.current > 0).count();
                let serving: Vec<_> = (0..members.len()).map(before).collect();
                maglev::table(&members, size).into_iter().map(|member| serving[member]).collect()
            }
            RoundRobin | LeastConnections | Random | SourceHash(_) => match frontend.service.fixed_grid {
                true => {
                    let each = elements_per_slot(frontend.listener.ports, frontend.backends.iter().copied());
                    on_grid(&weights(), slots_on_grid(frontend.members().count(), each))
                }
                false => slots(&weights()),
            },
        }
    }

    /// Number of slots that a listener needs for the weights in the file of its backends of one IP version.
    /// If it is within [`MAX_ELEMENTS`](crate::render::bounds::MAX_ELEMENTS), weights set at run time do
    /// not exceed the bound either: each backend can have a slot.
    pub fn slots_needed<'a>(
        self,
        service: &Service,
        backends: impl Iterator<Item = &'a Backend> + Clone,
    ) -> u32 {
        let members = backends.clone().count() as u32;
        match self {
            First => 1,
            Maglev(_, size) => size,
            RoundRobin | LeastConnections | Random | SourceHash(_) => match service.fixed_grid {
                true => members,
                false => members.max(period(backends.map(|backend| backend.weight))),
            },
        }
    }
}
