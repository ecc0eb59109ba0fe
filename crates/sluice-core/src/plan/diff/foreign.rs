//! What sluice cannot read, in words for the plan.

use sluice_nft::{Chain, ChainName, Hook, Rule, Set, SetName, Statement};

use crate::render::SetId;

/// Of a set whose declaration sluice never writes.
pub(super) fn set(name: &SetName, set: &Set) -> Option<String> {
    set.key.is_empty().then(|| format!("the declaration of {name}"))
}

/// Of a base chain of a type, a policy or at a hook that sluice never uses.
pub(super) fn chain(name: &ChainName, chain: &Chain) -> Option<String> {
    let foreign = chain.base.is_some_and(|base| base.hook == Hook::Foreign);
    foreign.then(|| format!("type, hook or policy of chain {name}"))
}

/// Of rules: the first statement that is none of ours. It can't be written again.
pub(super) fn rules<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Option<String> {
    rules.into_iter().flat_map(|rule| &rule.0).find_map(|statement| match statement {
        Statement::Foreign(text) => Some(text.clone()),
        Statement::Goto(chain) | Statement::Jump(chain) => {
            chain.is_anonymous().then(|| "a chain without a name".to_owned())
        }
        // A meter's set has a name of any kind, and goes with its rule.
        Statement::Update { set, .. } if SetId::parse(set).is_none() => Some(format!("set {set}")),
        other => {
            let is_nameless = other.set().is_some_and(|set| set.is_anonymous());
            is_nameless.then(|| "a set without a name".to_owned())
        }
    })
}
