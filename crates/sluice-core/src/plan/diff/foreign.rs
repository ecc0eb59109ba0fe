//! Describes foreign objects and statements, which sluice cannot read, for the plan.

use sluice_nft::{Chain, ChainName, Hook, Rule, Set, SetName, Statement};

use crate::render::SetId;

/// A set with a declaration that sluice never writes.
pub(super) fn set(name: &SetName, set: &Set) -> Option<String> {
    set.key.is_empty().then(|| format!("the declaration of {name}"))
}

/// A base chain with a type, policy or hook that sluice never uses.
pub(super) fn chain(name: &ChainName, chain: &Chain) -> Option<String> {
    let foreign = chain.base.is_some_and(|base| base.hook == Hook::Foreign);
    foreign.then(|| format!("type, hook or policy of chain {name}"))
}

/// The first foreign statement of the rules, which sluice cannot write again.
pub(super) fn rules<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Option<String> {
    rules.into_iter().flat_map(|rule| &rule.0).find_map(|statement| match statement {
        Statement::Foreign(text) => Some(text.clone()),
        Statement::Goto(chain) | Statement::Jump(chain) => {
            chain.is_anonymous().then(|| "a chain without a name".to_owned())
        }
        // The set of a meter can have any name, and is deleted with its rule.
        Statement::Update { set, .. } if SetId::parse(set).is_none() => Some(format!("set {set}")),
        other => {
            let is_nameless = other.set().is_some_and(|set| set.is_anonymous());
            is_nameless.then(|| "a set without a name".to_owned())
        }
    })
}
