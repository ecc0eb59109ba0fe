//! Counts of frontends, which decide on rules that are there once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use sluice_nft::Ip;

use super::frontend::Frontend;
use super::midstream::{self, Arriving};
use super::reset;
use crate::model::Source;

/// What of a frontend decides on such rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Traits {
    source: Source,
    ip: Ip,
    /// Whether flows may have to be reset.
    resets: bool,
    /// Whether it is TCP, and ignores or adopts connections that conntrack does not know.
    ignores: bool,
    adopts: bool,
    /// Whether it adopts them by a rule, not by a verdict map.
    adopts_by_rule: bool,
    /// Whether it is TCP, and clients on this host reach it, too.
    is_local: bool,
}

/// How many frontends have the same traits.
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
    /// Counts so many more.
    pub(super) fn count(&mut self, traits: Traits, by: isize) {
        let count = self.0.entry(traits).or_default();
        *count = count.saturating_add_signed(by);
        self.0.retain(|_, count| *count > 0);
    }

    /// Sources that backends see, each once.
    pub(super) fn sources(&self) -> BTreeSet<(Source, Ip)> {
        self.0.keys().map(|traits| (traits.source, traits.ip)).collect()
    }

    /// Whether flows of any frontend may have to be reset.
    pub(super) fn resets(&self) -> bool {
        self.any(|traits| traits.resets)
    }

    /// What is done with connections that conntrack does not know.
    pub(super) fn midstream(&self) -> Arriving {
        match (self.any(|traits| traits.ignores), self.any(|traits| traits.adopts)) {
            (false, _) => Arriving::Adopted,
            (_, false) => Arriving::Ignored,
            (true, true) => Arriving::Mixed { by_rule: self.any(|traits| traits.adopts_by_rule) },
        }
    }

    /// Whether clients on this host reach any TCP listener.
    pub(super) fn is_local(&self) -> bool {
        self.any(|traits| traits.is_local)
    }

    fn any(&self, test: impl Fn(&Traits) -> bool) -> bool {
        self.0.keys().any(test)
    }
}
