//! Decides which conntrack flows a change of services deletes or resets. Pure; the cleaner task of the daemon
//! executes it.
//!
//! The single rule is [`FlowPolicy::action`]. It depends only on the effective services, not on earlier ones
//! or on the order of changes. [`Affected`] selects the flows to inspect after a change.

mod affected;
pub mod flow_counts;
pub mod flow_index;
mod scope;
mod table_endpoints;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use sluice_nft::Ip;

pub use self::affected::Affected;
pub use self::scope::{FlowSelector, Scope, ScopeIndex, Target};
pub use self::table_endpoints::TableEndpoints;
use crate::flows::flow_index::{FlowIndex, led_to};
use crate::model::{Backend, EffectiveServices, Guard, OnDeny, OnDown, Protocol, Service};
use crate::render::Frontend;

/// A flow in conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source of the first packet.
    pub client: SocketAddr,
    /// Destination of the first packet, before translation.
    pub to: SocketAddr,
    /// Source of the replies.
    pub backend: SocketAddr,
    /// Destination of the replies.
    pub back_to: SocketAddr,
    /// Whether its destination was translated.
    pub is_translated: bool,
    /// Whether it is a connection without a reply yet.
    pub is_opening: bool,
    /// Whether its ends may still use it.
    pub is_active: bool,
}

/// What to do with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowAction {
    /// Keep it.
    Keep,
    /// Delete its conntrack entry, so that its next packet begins a new flow.
    Delete,
    /// Reset it at both ends.
    Reset,
}

/// Chooses the action for flows by the effective services.
#[derive(Debug)]
pub struct FlowPolicy<'a> {
    index: FlowIndex<'a>,
    /// Client filters by the address of their guards in memory, computed on first use.
    guards: HashMap<*const Guard, OnceCell<ClientFilter>>,
}

impl<'a> FlowPolicy<'a> {
    /// `services` are the services in the kernel.
    pub fn new(services: impl Into<EffectiveServices<'a>>) -> Self {
        let services = services.into();
        let guards = services.iter().filter_map(|(_, service)| service.guard.as_ref());
        let asks = guards.filter(|guard| guard.selects_clients());
        let guards = asks.map(|guard| (Arc::as_ptr(guard), OnceCell::new())).collect();
        FlowPolicy { index: FlowIndex::of(services), guards }
    }

    /// The action for a flow that has matched our rules, or would match them now. The caller selects the
    /// flows to inspect. A selected flow that is translated and matches no listener was translated by sluice.
    ///
    /// UDP flows, and TCP connections without a reply, are kept only if a matching listener leads to their
    /// backend, the backend is neither unhealthy nor disabled, and the guard accepts the client. Established
    /// TCP connections are kept unless their service resets them: with `on_down: reset` if the backend is
    /// unhealthy, with `on_deny: reset` if the guard refuses the client.
    ///
    /// `is_local` returns whether an address is known to be local.
    pub fn action(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> FlowAction {
        let moves = !flow.protocol.has_connections() || flow.is_opening;
        let may_reset = flow.protocol.has_reset() && flow.is_active && flow.is_translated;
        if !moves && !may_reset {
            return FlowAction::Keep;
        }
        let candidates = self.index.candidates(flow.protocol, Some(flow.client.ip()), flow.to, is_local);
        let mut found = None;
        for frontend in &candidates.frontends {
            for backend in led_to(frontend, flow.to, flow.backend) {
                let ends = treatment(frontend.service, backend).max(self.refusal(frontend, flow.client.ip()));
                // An established connection never begins a new flow.
                let ends = if ends == FlowAction::Delete && !moves { FlowAction::Keep } else { ends };
                // The mildest action of the matching listeners, because any of them may be the right one.
                found = Some(found.map_or(ends, |other: FlowAction| other.min(ends)));
            }
        }
        match (found, moves) {
            (Some(FlowAction::Keep), _) | (None, false) => FlowAction::Keep,
            (Some(_), false) => FlowAction::Reset,
            (Some(_), true) => FlowAction::Delete,
            (None, true) if flow.is_translated || candidates.is_certain => FlowAction::Delete,
            (None, true) => {
                // A flow that is forwarded without translation is not affected.
                let may_arrive =
                    candidates.frontends.iter().any(|frontend| frontend.service.interface.is_some());
                let passes = flow.back_to == flow.client;
                if may_arrive && passes { FlowAction::Delete } else { FlowAction::Keep }
            }
        }
    }

    /// The action for flows of a client, by the guard alone.
    fn refusal(&self, frontend: &Frontend<'_>, client: IpAddr) -> FlowAction {
        let Some(guard) = &frontend.service.guard else { return FlowAction::Keep };
        let clients = self.guards.get(&Arc::as_ptr(guard));
        let refuses = clients.is_some_and(|it| it.get_or_init(|| ClientFilter::of(guard)).refuse(client));
        match frontend.service.on_deny {
            _ if !refuses => FlowAction::Keep,
            OnDeny::Keep => FlowAction::Delete,
            OnDeny::Reset => FlowAction::Reset,
        }
    }
}

/// The action for flows to a backend, by its service alone.
pub(crate) fn treatment(service: &Service, backend: &Backend) -> FlowAction {
    let is_unhealthy = service.unhealthy.contains(&backend.name);
    match () {
        () if backend.weight > 0 => FlowAction::Keep,
        () if is_unhealthy && service.on_down == OnDown::Reset => FlowAction::Reset,
        () if is_unhealthy || service.disabled.contains(&backend.name) => FlowAction::Delete,
        () => FlowAction::Keep,
    }
}

/// The clients that a guard accepts, as ranges of addresses.
#[derive(Debug)]
struct ClientFilter {
    /// `None`: all clients.
    allow: Option<BTreeMap<IpAddr, IpAddr>>,
    deny: BTreeMap<IpAddr, IpAddr>,
}

impl ClientFilter {
    fn of(guard: &Guard) -> Self {
        let ranges = |nets: &[IpNet]| nets.iter().map(|net| (net.network(), net.broadcast())).collect();
        ClientFilter {
            allow: (!guard.allow.is_empty()).then(|| ranges(&guard.allow)),
            deny: ranges(&guard.deny),
        }
    }

    fn refuse(&self, client: IpAddr) -> bool {
        let is_in = |ranges: &BTreeMap<IpAddr, IpAddr>| {
            let range = ranges.range(..=client).next_back();
            range.is_some_and(|(first, last)| Ip::of(*first) == Ip::of(client) && client <= *last)
        };
        is_in(&self.deny) || self.allow.as_ref().is_some_and(|allow| !is_in(allow))
    }
}
