//! [`Scope`]: a set of flows to inspect.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sluice_nft::Ip;

use super::{Flow, TableEndpoints};
use crate::model::{Address, Listener, Ports, Protocol};

/// Flows to inspect. Scopes are merged, not queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Flows to listeners.
    pub selectors: HashSet<FlowSelector>,
    /// Flows that a table found in the kernel may have translated.
    pub found: Option<Arc<TableEndpoints>>,
}

/// Flows to one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowSelector {
    /// The listener.
    pub listener: Listener,
    /// IP version.
    pub ip: Ip,
    /// Their backend.
    pub target: Target,
}

/// The backends of selected flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One backend.
    Backend {
        /// Its address.
        address: IpAddr,
        /// Its ports.
        ports: Ports,
    },
    /// None: the flows are not translated, because they began before the listener existed.
    Untranslated,
    /// Any. If the listener has no address of its own, only flows to addresses known to be local.
    Translated,
}

impl Scope {
    /// Whether no flow is selected.
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty() && self.found.is_none()
    }

    /// Adds another scope.
    pub fn merge(&mut self, other: Scope) {
        if self.selectors.is_empty() {
            self.selectors = other.selectors;
        } else {
            self.selectors.extend(other.selectors);
        }
        self.found = other.found.or(self.found.take());
    }

    /// An index for testing many flows.
    pub fn index(&self) -> ScopeIndex<'_> {
        let mut index = ScopeIndex { scope: self, exact: HashMap::new(), others: HashMap::new() };
        for look in &self.selectors {
            let Listener { address, protocol, .. } = look.listener;
            let of_listener = match look.listener.exact() {
                Some(to) => index.exact.entry((protocol, to.into())).or_default(),
                None => index.others.entry((protocol, address.exact())).or_default(),
            };
            of_listener.push(look);
        }
        index
    }
}

/// A scope, indexed by the destination of flows.
#[derive(Debug)]
pub struct ScopeIndex<'a> {
    scope: &'a Scope,
    exact: HashMap<(Protocol, SocketAddr), Vec<&'a FlowSelector>>,
    others: HashMap<(Protocol, Option<IpAddr>), Vec<&'a FlowSelector>>,
}

impl ScopeIndex<'_> {
    /// Whether a flow is selected. `is_local` returns whether an address is known to be local.
    pub fn contains(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> bool {
        let exact = self.exact.get(&(flow.protocol, flow.to));
        let others = [Some(flow.to.ip()), None].into_iter();
        let others = others.filter_map(|address| self.others.get(&(flow.protocol, address)));
        exact.into_iter().chain(others).flatten().any(|look| look.fits(flow, &is_local))
            || self.scope.found.as_ref().is_some_and(|found| found.translated(flow))
    }
}

impl FlowSelector {
    /// Whether a flow with the protocol and address of the listener is selected.
    fn fits(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> bool {
        Ip::of(flow.to.ip()) == self.ip
            && self.listener.ports.contains(flow.to.port())
            && match self.target {
                Target::Untranslated => !flow.is_translated,
                Target::Translated => {
                    flow.is_translated && (self.listener.address != Address::Any || is_local(flow.to.ip()))
                }
                Target::Backend { address, ports } => {
                    flow.is_translated && flow.backend.ip() == address && ports.contains(flow.backend.port())
                }
            }
    }
}
