//! `counter`: counts packets and bytes.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::RawExpr;

/// A counter. The counts are not part of the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter;

impl Counter {
    pub(super) const NAME: &str = "counter";

    pub(super) fn decode(_: RawExpr<'_>) -> Option<Self> {
        Some(Counter)
    }
}

impl Expression for Counter {
    fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        nftnl::expr::Counter.to_expr(rule)
    }
}
