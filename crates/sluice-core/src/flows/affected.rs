//! [`Affected`]: the flows for which a change of services may change the action.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{FlowAction, FlowSelector, Scope, TableEndpoints, Target, treatment};
use crate::flows::flow_index::FlowIndex;
use crate::model::Transition;
use crate::model::{Address, Backend, EffectiveServices, OnDeny};
use crate::render::{Frontend, frontends};

/// Flows for which [`FlowPolicy`](super::FlowPolicy) may choose another action after a change of services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Flows that reach no useful backend now. They are inspected at once, and again a little later.
    pub soon: Scope,
    /// Flows to a backend that still answers, but no longer belongs to the service. Answers are in transit,
    /// so they are inspected only a little later.
    pub later: Scope,
    /// Whether any flow may have another action, including to keep it.
    pub is_news: bool,
}

impl Affected {
    /// The flows that a transition affects.
    pub fn by(transition: &Transition<'_>) -> Self {
        let (mut affected, held) = (Affected::default(), OnceCell::new());
        for (name, before, after) in transition.differences() {
            let [old, new] =
                [before, after].map(|of| of.map(|service| Frontend::of(name, service)).unwrap_or_default());
            let id = |frontend: &Frontend<'_>| (frontend.listener, frontend.ip.nfproto());
            let mut pairs: BTreeMap<_, (Option<&Frontend<'_>>, Option<&Frontend<'_>>)> = BTreeMap::new();
            old.iter().for_each(|was| pairs.entry(id(was)).or_default().0 = Some(was));
            new.iter().for_each(|is| pairs.entry(id(is)).or_default().1 = Some(is));
            for pair in pairs.into_values() {
                match pair {
                    (Some(was), Some(is)) if was.service.interface == is.service.interface => {
                        affected.stays(was, is);
                    }
                    (was, is) => {
                        affected.moves(was, is, || held.get_or_init(|| FlowIndex::of(transition.held)));
                    }
                }
            }
        }
        affected
    }

    /// The flows to inspect at the start of the daemon. Clients may have sent packets to our listeners
    /// before, or an earlier daemon may have left a table. If it was killed between a commit and the
    /// inspection of flows, no table shows the former backends; so all flows to a listener are inspected that
    /// certainly belong to it.
    pub fn at_start<'a>(services: impl Into<EffectiveServices<'a>>, found: TableEndpoints) -> Self {
        let mut affected = Affected { is_news: true, ..Affected::default() };
        for frontend in &frontends(services.into()) {
            affected.soon.selectors.insert(look(frontend, Target::Untranslated));
            affected.later.selectors.extend(certain(frontend));
            // It is not certain that flows to this host belong to such a listener.
            if frontend.service.interface.is_some() || frontend.listener.address == Address::Any {
                let to_backends = frontend.members().map(|backend| look(frontend, to(frontend, backend)));
                affected.later.selectors.extend(to_backends);
            }
        }
        affected.later.found = (!found.is_empty()).then(|| found.into());
        affected
    }

    /// Adds the flows that another change affects.
    pub fn merge(&mut self, other: Affected) {
        self.soon.merge(other.soon);
        self.later.merge(other.later);
        self.is_news |= other.is_news;
    }

    /// The listener exists before and after.
    fn stays(&mut self, was: &Frontend<'_>, is: &Frontend<'_>) {
        let same = |(a, at): (&Frontend<'_>, &Backend), b: &Backend| {
            at.address == b.address && a.backend_ports(at) == is.backend_ports(b)
        };
        for backend in was.members() {
            let now = is.members().find(|other| same((was, backend), other));
            let now = now.map(|now| treatment(is.service, now));
            match now {
                Some(now) if now == treatment(was.service, backend) => continue,
                Some(FlowAction::Keep) => {}
                Some(FlowAction::Delete | FlowAction::Reset) => {
                    self.soon.selectors.insert(look(was, to(was, backend)));
                }
                None => {
                    self.later.selectors.insert(look(was, to(was, backend)));
                }
            }
            self.is_news = true;
        }
        // Flows to the new backend may exist already, through a removed service.
        let has = |backend: &Backend| was.members().any(|other| same((was, other), backend));
        for backend in is.members().filter(|backend| !has(backend)) {
            if clients(is).is_some() || treatment(is.service, backend) != FlowAction::Keep {
                self.soon.selectors.insert(look(is, to(is, backend)));
            }
            self.is_news = true;
        }
        if clients(was) != clients(is) {
            self.soon.selectors.extend(is.members().map(|backend| look(is, to(is, backend))));
            self.is_news = true;
        }
        // Flows to a service without backends may not have been translated.
        if was.backends.is_empty() != is.backends.is_empty() {
            self.soon.selectors.insert(look(is, Target::Untranslated));
            self.is_news = true;
        }
    }

    /// The listener is added, removed, or moved to another interface.
    fn moves<'o, 'a: 'o>(
        &mut self,
        was: Option<&Frontend<'_>>,
        is: Option<&Frontend<'_>>,
        held: impl FnOnce() -> &'o FlowIndex<'a>,
    ) {
        self.is_news = true;
        self.soon.selectors.extend(was.or(is).map(|frontend| look(frontend, Target::Untranslated)));
        if let Some(was) = was {
            self.later.selectors.extend(was.members().map(|backend| look(was, to(was, backend))));
        }
        if let Some(is) = is {
            self.later.selectors.extend(certain(is));
            // Flows that the listener takes from others.
            for other in held().behind(is) {
                self.later.selectors.extend(other.members().map(|backend| look(is, to(other, backend))));
            }
        }
    }
}

fn look(frontend: &Frontend<'_>, target: Target) -> FlowSelector {
    FlowSelector { listener: frontend.listener, ip: frontend.ip, target }
}

/// All translated flows to a listener that certainly belong to it, whatever their backend.
fn certain(frontend: &Frontend<'_>) -> Option<FlowSelector> {
    frontend.service.interface.is_none().then(|| look(frontend, Target::Translated))
}

fn to(frontend: &Frontend<'_>, backend: &Backend) -> Target {
    Target::Backend { address: backend.address, ports: frontend.backend_ports(backend) }
}

/// The clients that a service accepts, and what happens to the connections of refused clients.
fn clients<'a>(frontend: &Frontend<'a>) -> Option<(&'a [IpNet], &'a [IpNet], OnDeny)> {
    let guard = frontend.service.guard.as_ref().filter(|guard| guard.selects_clients())?;
    Some((&guard.allow, &guard.deny, frontend.service.on_deny))
}
