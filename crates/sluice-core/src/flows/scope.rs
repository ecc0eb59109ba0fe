//! Which flows are to be looked at.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sluice_nft::Ip;

use super::{Flow, TableEndpoints};
use crate::model::{Address, Listener, Ports, Protocol};

/// Flows that are to be looked at. Scopes are merged, not queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Flows of single listeners.
    pub selectors: HashSet<FlowSelector>,
    /// And those of a table that was found in the kernel.
    pub found: Option<Arc<TableEndpoints>>,
}

/// Some flows that were addressed to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowSelector {
    /// Where they came in.
    pub listener: Listener,
    /// Their IP version.
    pub ip: Ip,
    /// Where they go.
    pub target: Target,
}

/// Where flows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To one backend.
    Backend {
        /// Its address.
        address: IpAddr,
        /// Its ports.
        ports: Ports,
    },
    /// To where they were addressed: they began before anybody translated them.
    Untranslated,
    /// Anywhere else, if they were addressed to this host where the listener takes all addresses.
    Translated,
}

impl Scope {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty() && self.found.is_none()
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: Scope) {
        if self.selectors.is_empty() {
            self.selectors = other.selectors;
        } else {
            self.selectors.extend(other.selectors);
        }
        self.found = other.found.or(self.found.take());
    }

    /// For asking about many flows.
    pub fn index(&self) -> ScopeIndex<'_> {
        let mut wanted = ScopeIndex { scope: self, exact: HashMap::new(), others: HashMap::new() };
        for look in &self.selectors {
            let Listener { address, ports, protocol } = look.listener;
            match (address, ports.as_single()) {
                (Address::Exact(address), Some(port)) => {
                    wanted.exact.entry((protocol, SocketAddr::new(address, port))).or_default().push(look);
                }
                (Address::Exact(address), None) => {
                    wanted.others.entry((protocol, Some(address))).or_default().push(look);
                }
                (Address::Any, _) => wanted.others.entry((protocol, None)).or_default().push(look),
            }
        }
        wanted
    }
}

/// A scope, by what flows are looked up with.
#[derive(Debug)]
pub struct ScopeIndex<'a> {
    scope: &'a Scope,
    exact: HashMap<(Protocol, SocketAddr), Vec<&'a FlowSelector>>,
    others: HashMap<(Protocol, Option<IpAddr>), Vec<&'a FlowSelector>>,
}

impl ScopeIndex<'_> {
    /// Whether a flow is one of them. `is_local` tells addresses that this host is known to have.
    pub fn contains(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> bool {
        let exact = self.exact.get(&(flow.protocol, flow.to));
        let others = [Some(flow.to.ip()), None].into_iter();
        let others = others.filter_map(|address| self.others.get(&(flow.protocol, address)));
        exact.into_iter().chain(others).flatten().any(|look| look.fits(flow, &is_local))
            || self.scope.found.as_ref().is_some_and(|found| found.translated(flow))
    }
}

impl FlowSelector {
    /// Whether a flow of its protocol and address is one of these.
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
