//! What becomes of flows that conntrack knows when who takes them changes.
//!
//! There is one rule, [`FlowPolicy::action`], and it looks at the services in force alone: not at what happened before, nor
//! in which order. [`Affected`] says which flows are worth a look after a change.

mod affected;
pub mod flow_counts;
pub mod flow_index;
pub mod nat_tuple;
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
use crate::flows::flow_index::{FlowIndex, leads};
use crate::model::{Backend, EffectiveServices, Guard, OnDeny, OnDown, Protocol, Service};
use crate::render::Frontend;

/// A flow, as conntrack has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Source of the first packet.
    pub client: SocketAddr,
    /// Destination of the first packet, before translation.
    pub to: SocketAddr,
    /// Source of the answers.
    pub backend: SocketAddr,
    /// Destination of the answers.
    pub back_to: SocketAddr,
    /// Whether its destination was translated.
    pub is_translated: bool,
    /// Whether it is a connection that nobody has answered yet.
    pub is_opening: bool,
    /// Whether somebody may still use it.
    pub is_active: bool,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowAction {
    /// It stays.
    Keep,
    /// Its conntrack entry is deleted, so that its next packet is taken like that of a new flow.
    Delete,
    /// Both ends are told that it is over.
    Reset,
}

/// Decides about flows by the services in force.
#[derive(Debug)]
pub struct FlowPolicy<'a> {
    index: FlowIndex<'a>,
    /// Networks of guards, by the guard's place in memory, for those that are asked for.
    guards: HashMap<*const Guard, OnceCell<ClientFilter>>,
}

impl<'a> FlowPolicy<'a> {
    /// `services` are those that the kernel has.
    pub fn new(services: impl Into<EffectiveServices<'a>>) -> Self {
        let services = services.into();
        let guards = services.iter().filter_map(|(_, service)| service.guard.as_ref());
        let asks = guards.filter(|guard| guard.selects_clients());
        let guards = asks.map(|guard| (Arc::as_ptr(guard), OnceCell::new())).collect();
        FlowPolicy { index: FlowIndex::of(services), guards }
    }

    /// What becomes of a flow that met our rules, or would now. Whether a flow is worth a look is said elsewhere: of one
    /// that is translated, and that nobody takes now, we must have been the translator.
    ///
    /// UDP flows, and TCP connections that nobody has answered yet, stay only where some listener that could have taken
    /// them leads now, to a backend that is neither unhealthy nor disabled, and for a client that is let in. Established
    /// TCP connections stay, unless their service resets them: with `on_down: reset` if their backend is unhealthy, with
    /// `on_deny: reset` if their client is refused.
    ///
    /// `is_local` tells addresses that this host is known to have.
    pub fn action(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> FlowAction {
        let moves = !flow.protocol.has_connections() || flow.is_opening;
        let may_reset = flow.protocol.has_reset() && flow.is_active && flow.is_translated;
        if !moves && !may_reset {
            return FlowAction::Keep;
        }
        let candidates = self.index.candidates(flow.protocol, Some(flow.client.ip()), flow.to, is_local);
        let mut found = None;
        for frontend in candidates.iter() {
            let led = frontend.members().filter(|backend| leads(frontend, backend, flow.to, flow.backend));
            for backend in led {
                let ends = treatment(frontend.service, backend).max(self.refusal(frontend, flow.client.ip()));
                // An established connection is not taken like a new flow by anybody.
                let ends = if ends == FlowAction::Delete && !moves { FlowAction::Keep } else { ends };
                // The mildest: it may be of any of them.
                found = Some(found.map_or(ends, |other: FlowAction| other.min(ends)));
            }
        }
        match (found, moves) {
            (Some(FlowAction::Keep), _) | (None, false) => FlowAction::Keep,
            (Some(_), false) => FlowAction::Reset,
            (Some(_), true) => FlowAction::Delete,
            (None, true) if flow.is_translated || candidates.is_certain => FlowAction::Delete,
            (None, true) => {
                // One that only passes through without any translation does not notice.
                let may_arrive = candidates.iter().any(|frontend| frontend.service.interface.is_some());
                let passes = flow.back_to == flow.client;
                if may_arrive && passes { FlowAction::Delete } else { FlowAction::Keep }
            }
        }
    }

    /// What becomes of flows of a client as far as the guard alone decides.
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

/// What becomes of flows of a service to one of its backends, as far as that alone decides.
pub(crate) fn treatment(service: &Service, backend: &Backend) -> FlowAction {
    let is_unhealthy = service.unhealthy.contains(&backend.name);
    match () {
        () if backend.weight > 0 => FlowAction::Keep,
        () if is_unhealthy && service.on_down == OnDown::Reset => FlowAction::Reset,
        () if is_unhealthy || service.disabled.contains(&backend.name) => FlowAction::Delete,
        () => FlowAction::Keep,
    }
}

/// Clients that a guard lets in, by ranges of addresses.
#[derive(Debug)]
struct ClientFilter {
    /// `None`: everybody.
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
