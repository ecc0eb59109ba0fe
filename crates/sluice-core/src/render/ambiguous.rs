//! Ambiguous flows: the constant postrouting rules cannot distinguish them, because listeners with different
//! sources share the key that these rules look up.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::frontend::{Destination, Frontend, Rank};
use super::source::split_by_ambiguity;
use crate::model::{Address, Backend, Ports, Source};

/// Backends of frontends with different sources. Empty if all frontends have the same source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AmbiguousFlows {
    /// Flows that are not masqueraded, by protocol and backend.
    by_backend: HashMap<(u8, IpAddr), Vec<AmbiguousFlow>>,
    /// Frontends whose flows are compared one listener at a time, with these backends.
    apart: Vec<(Rank, SourceTraits)>,
}

/// Listener address, backend ports and source.
type AmbiguousFlow = (Address, Ports, Source);

/// The properties of a frontend that fragments of frontends with other sources depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceTraits {
    destination: Destination,
    source: Source,
    backends: Vec<(IpAddr, Ports)>,
}

impl SourceTraits {
    fn new<'a>(frontend: &Frontend<'_>, backends: impl Iterator<Item = &'a Backend>) -> Self {
        SourceTraits {
            destination: frontend.destination(),
            source: frontend.service.source,
            backends: backends.map(|backend| (backend.address, frontend.backend_ports(backend))).collect(),
        }
    }
}

impl AmbiguousFlows {
    pub(super) fn of(frontends: &[Frontend<'_>]) -> Self {
        let mut ambiguous = AmbiguousFlows::default();
        let sources: BTreeSet<_> = frontends.iter().map(|frontend| frontend.service.source).collect();
        if sources.len() < 2 {
            return ambiguous;
        }
        for frontend in frontends.iter().filter(|frontend| frontend.has_own_source()) {
            for backend in frontend.members() {
                let claim =
                    (frontend.listener.address, frontend.backend_ports(backend), frontend.service.source);
                ambiguous.by_backend.entry((frontend.protocol(), backend.address)).or_default().push(claim);
            }
        }
        for frontend in frontends {
            let (own, _) = split_by_ambiguity(frontend, &ambiguous);
            if !own.is_empty() {
                ambiguous.apart.push((frontend.rank(), SourceTraits::new(frontend, own.into_iter())));
            }
        }
        ambiguous
    }

    /// Whether the constant rules cannot distinguish flows to this backend from those of another source.
    pub(super) fn is_ambiguous(&self, frontend: &Frontend<'_>, address: IpAddr, backend: &Backend) -> bool {
        let ports = frontend.backend_ports(backend);
        let mut ambiguous =
            self.by_backend.get(&(frontend.protocol(), backend.address)).into_iter().flatten();
        ambiguous.any(|(claimed, claimed_ports, source)| {
            *source != frontend.service.source
                && claimed.exact().is_none_or(|claimed| claimed == address)
                && claimed_ports.overlaps(ports)
        })
    }

    /// Whether the comparison for another frontend, with another source, would match flows that belong to the
    /// constant rules.
    pub(super) fn would_match_another(&self, frontend: &Frontend<'_>) -> bool {
        let takes = |(rank, apart): &(Rank, SourceTraits)| {
            frontend.rank() < *rank
                && frontend.service.source != apart.source
                && frontend.destination().overlaps(&apart.destination)
                && frontend.members().any(|own| apart.backends.iter().any(|(to, _)| *to == own.address))
        };
        frontend.has_own_source() && self.apart.iter().any(takes)
    }
}

/// The source traits of these frontends. No other fragment depends on exact frontends with the default
/// source.
pub(super) fn source_traits(frontends: &[Frontend<'_>]) -> Vec<SourceTraits> {
    let concerns = |frontend: &&Frontend<'_>| frontend.has_own_source() || frontend.exact().is_none();
    let concerned = frontends.iter().filter(concerns);
    let mut source_traits: Vec<_> =
        concerned.map(|frontend| SourceTraits::new(frontend, frontend.members())).collect();
    source_traits.sort_unstable();
    source_traits
}
