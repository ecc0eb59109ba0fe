//! `notrack`: excludes the packet from connection tracking.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};

/// Has no attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notrack;

impl Notrack {
    pub(super) const NAME: &str = "notrack";

    pub(super) fn decode(_: RawExpr<'_>) -> Option<Self> {
        Some(Notrack)
    }
}

impl Expression for Notrack {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"notrack").finish()
    }
}
