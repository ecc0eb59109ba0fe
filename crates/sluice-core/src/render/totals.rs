//! [`Totals`]: numbers of frontends by their traits, which decide on the common rules.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::Ip;

use super::frontend::Frontend;
use super::midstream::{self, Arriving};
use super::reset;
use crate::model::Source;

/// The properties of a frontend that the common rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Traits {
    source: Source,
    ip: Ip,
    /// Whether its flows may have to be reset.
    resets: bool,
    /// Whether it is TCP, and ignores or adopts midstream packets.
    ignores: bool,
    adopts: bool,
    /// Whether it adopts them by a rule, not by a verdict map.
    adopts_by_rule: bool,
    /// Whether it is TCP, and local clients can reach it.
    is_local: bool,
}

/// Numbers of frontends by traits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals(BTreeMap<Traits, usize>);

impl Traits {
    pub(super) fn of(frontend: &Frontend<'_>) -> Self {
        let is_tcp = frontend.listener.protocol.has_midstream();
        let adopts = midstream::adopts(frontend);
        Traits {
            source: frontend.service.source,
            ip: frontend.ip,
            resets: reset::resets(frontend),
            ignores: is_tcp && !adopts,
            adopts,
            adopts_by_rule: adopts && frontend.exact().is_none(),
            is_local: is_tcp && frontend.service.interface.is_none(),
        }
    }
}

impl Totals {
    /// Adds `by` to the number of frontends with these traits.
    pub(super) fn count(&mut self, traits: Traits, by: isize) {
        let count = self.0.entry(traits).or_default();
        *count = count.saturating_add_signed(by);
        self.0.retain(|_, count| *count > 0);
    }

    /// Sources in use.
    pub(super) fn sources(&self) -> BTreeSet<(Source, Ip)> {
        self.0.keys().map(|traits| (traits.source, traits.ip)).collect()
    }

    /// Whether flows of any frontend may have to be reset.
    pub(super) fn resets(&self) -> bool {
        self.any(|traits| traits.resets)
    }

    /// How midstream packets are treated.
    pub(super) fn midstream(&self) -> Arriving {
        match (self.any(|traits| traits.ignores), self.any(|traits| traits.adopts)) {
            (false, _) => Arriving::Adopted,
            (_, false) => Arriving::Ignored,
            (true, true) => Arriving::Mixed { by_rule: self.any(|traits| traits.adopts_by_rule) },
        }
    }

    /// Whether local clients can reach any TCP listener.
    pub(super) fn is_local(&self) -> bool {
        self.any(|traits| traits.is_local)
    }

    fn any(&self, test: impl Fn(&Traits) -> bool) -> bool {
        self.0.keys().any(test)
    }
}
