//! [`ChainTransition`]: the rules of one chain after each batch of a plan.

use std::borrow::Cow;

use sluice_nft::{Base, Chain, ChainName, Hook, Rule, Statement, Step};

use super::{change, foreign};
use crate::plan::{Change, Why};
use crate::render::ChainId;

/// The role of a chain on the path of a flow, which determines when its rules change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Chooses the listener, together with the verdict maps, and changes when these do.
    Dispatch,
    /// Follows prerouting and output. It must match what these translated before the change, until no such
    /// packet is left.
    Source,
    /// Chooses the backend, and changes with its slots.
    Pick,
}

impl Role {
    /// The role of a chain with this name and hook.
    pub(super) fn of(name: &ChainName, base: Option<Base>) -> Self {
        match base {
            Some(base) if matches!(base.hook, Hook::Input | Hook::Forward | Hook::Postrouting) => {
                Role::Source
            }
            Some(_) => Role::Dispatch,
            None if ChainId::parse(name).is_some_and(|id| id.is_behind_translation()) => Role::Source,
            None => Role::Pick,
        }
    }
}

/// Rules of one chain: current, prepared, after the switch, and desired.
pub(super) struct ChainTransition<'a> {
    name: &'a ChainName,
    role: Role,
    pub(super) now: &'a [Rule],
    pub(super) prepared: Cow<'a, [Rule]>,
    pub(super) switched: Cow<'a, [Rule]>,
    pub(super) end: &'a [Rule],
}

impl<'a> ChainTransition<'a> {
    pub(super) fn new(
        name: &'a ChainName,
        role: Role,
        now: Option<&'a Chain>,
        end: Option<&'a Chain>,
    ) -> Self {
        let rules = |chain: Option<&'a Chain>| chain.map_or(&[][..], |chain| &chain.rules);
        let (now, end) = (rules(now), rules(end));
        let (prepared, switched) = match role {
            // A packet that began with these rules may look up the verdict maps after the switch. So a packet
            // that the current or the desired rules accept must be accepted as soon as it could find an
            // element, and until it cannot find one.
            Role::Dispatch => {
                let first = union(&union(&accept_rules(now), &accept_rules(end)), &bypass_rules(end));
                (union(&first, &union(now, end)).into(), union(&accept_rules(now), end).into())
            }
            Role::Source => (union(end, now).into(), union(end, now).into()),
            // A deleted chain keeps its rules until no rule or element refers to it.
            Role::Pick if end.is_empty() => (now.into(), now.into()),
            Role::Pick => (end.into(), end.into()),
        };
        ChainTransition { name, role, now, prepared, switched, end }
    }

    pub(super) fn is_dispatch(&self) -> bool {
        self.role == Role::Dispatch
    }

    /// Whether the desired chain has a new rule that bypasses the verdict maps. It must precede new elements:
    /// a packet that began without the rule sees elements that are added together with it.
    pub(super) fn adds_bypass_rules(&self) -> bool {
        self.is_dispatch()
            && !self.now.is_empty()
            && bypass_rules(self.end).iter().any(|rule| !self.now.contains(rule))
    }

    /// Replaces rules of the chain.
    pub(super) fn step(&self, changes: &mut Vec<Change>, from: &[Rule], to: &[Rule]) {
        if from == to {
            return;
        }
        let why = match (from, to) {
            ([], _) => Why::Missing,
            (_, []) => Why::Unneeded,
            _ => Why::Differs(None),
        };
        if !from.is_empty() {
            let flush_why = foreign::rules(from).map_or_else(|| why.clone(), Why::Unreadable);
            changes.push(change(Step::FlushChain(self.name.clone()), None, flush_why));
        }
        for rule in to {
            changes.push(change(Step::AddRule(self.name.clone(), rule.clone()), None, why.clone()));
        }
    }
}

/// Rules that accept packets before dispatch. Accept rules after dispatch are excluded: moved to the front,
/// they would accept packets of listeners with higher precedence.
fn accept_rules(rules: &[Rule]) -> Vec<Rule> {
    before_dispatch(rules).filter(|rule| rule.0.last() == Some(&Statement::Accept)).cloned().collect()
}

/// Rules that accept packets before dispatch, or lead midstream packets to their chains.
fn bypass_rules(rules: &[Rule]) -> Vec<Rule> {
    let sorts = |rule: &&Rule| rule.0.last() == Some(&Statement::Accept) || is_midstream_jump(rule);
    before_dispatch(rules).filter(sorts).cloned().collect()
}

/// The rules before the first rule that dispatches packets to a listener.
fn before_dispatch(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    let leads = |statement: &Statement| {
        matches!(
            statement,
            Statement::VerdictMap(..) | Statement::Goto(_) | Statement::Jump(_) | Statement::Dnat { .. }
        )
    };
    rules.iter().take_while(move |rule| is_midstream_jump(rule) || !rule.0.iter().any(leads))
}

fn is_midstream_jump(rule: &Rule) -> bool {
    let chains = [Statement::Jump(ChainId::EarlyAnswers.into()), Statement::Goto(ChainId::Midstream.into())];
    rule.0.last().is_some_and(|last| chains.contains(last))
}

/// The first rules, then the second without duplicates. Foreign rules are left out, because they cannot be
/// written again.
fn union(these: &[Rule], those: &[Rule]) -> Vec<Rule> {
    let is_ours = |rule: &&Rule| foreign::rules([*rule]).is_none();
    these.iter().chain(those.iter().filter(|rule| !these.contains(rule))).filter(is_ours).cloned().collect()
}
