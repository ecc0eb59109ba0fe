//! Which flows the constant postrouting rules cannot tell apart, because listeners of different sources share what those
//! rules look up.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::entry::{Destination, Entry, Rank};
use super::source::divide;
use crate::model::{Address, Backend, Ports, Source};

/// What frontends say of their backends that matters to frontends of other sources. Empty while all have one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// Flows that are not simply masqueraded, by protocol and backend.
    by_backend: HashMap<(u8, IpAddr), Vec<Claim>>,
    /// Frontends that are told apart one by one.
    apart: Vec<Apart>,
}

/// Listener addresses, backend ports, and what source those have.
type Claim = (Address, Ports, Source);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Apart {
    destination: Destination,
    rank: Rank,
    source: Source,
    backends: Vec<IpAddr>,
}

/// What other frontends can notice of one: two that are equal are told apart in the same way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Notice {
    destination: Destination,
    source: Source,
    backends: Vec<(IpAddr, Ports)>,
}

impl Claims {
    pub(super) fn of(entries: &[Entry<'_>]) -> Self {
        let mut claims = Claims::default();
        let sources: BTreeSet<_> = entries.iter().map(|entry| entry.service.source).collect();
        if sources.len() < 2 {
            return claims;
        }
        for entry in entries.iter().filter(|entry| entry.claims()) {
            for backend in entry.members() {
                let claim = (entry.listener.address, entry.backend_ports(backend), entry.service.source);
                claims.by_backend.entry((entry.protocol(), backend.address)).or_default().push(claim);
            }
        }
        for entry in entries {
            let (own, _) = divide(entry, &claims);
            if !own.is_empty() {
                claims.apart.push(Apart {
                    destination: entry.destination(),
                    rank: entry.rank(),
                    source: entry.service.source,
                    backends: own.iter().map(|backend| backend.address).collect(),
                });
            }
        }
        claims
    }

    /// Whether the constant rules could not tell this flow from one of another source.
    pub(super) fn dispute(&self, entry: &Entry<'_>, address: IpAddr, backend: &Backend) -> bool {
        let ports = entry.backend_ports(backend);
        let claims = self.by_backend.get(&(entry.protocol(), backend.address)).into_iter().flatten();
        claims.filter(|(_, _, source)| *source != entry.service.source).any(|(claimed, claimed_ports, _)| {
            [Address::Any, Address::Exact(address)].contains(claimed) && claimed_ports.overlaps(ports)
        })
    }

    /// Whether flows that the constant rules know would be taken for those of a frontend that is told apart.
    pub(super) fn is_mistaken(&self, entry: &Entry<'_>) -> bool {
        let takes = |apart: &Apart| {
            entry.rank() < apart.rank
                && entry.service.source != apart.source
                && entry.destination().overlaps(&apart.destination)
                && entry.members().any(|own| apart.backends.contains(&own.address))
        };
        entry.claims() && self.apart.iter().any(takes)
    }
}

/// What others can notice of these frontends. Those with the default source and one address and port concern no other.
pub(super) fn notices(entries: &[Entry<'_>]) -> Vec<Notice> {
    let concerns = |entry: &&Entry<'_>| entry.claims() || entry.exact().is_none();
    let notice = |entry: &Entry<'_>| Notice {
        destination: entry.destination(),
        source: entry.service.source,
        backends: entry.members().map(|backend| (backend.address, entry.backend_ports(backend))).collect(),
    };
    let mut notices: Vec<_> = entries.iter().filter(concerns).map(notice).collect();
    notices.sort_unstable();
    notices
}
