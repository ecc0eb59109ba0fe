//! `masq`: translates the source to the address of the outgoing interface.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};

/// Masquerades with a random port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masquerade;

impl Masquerade {
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
    const FULLY_RANDOM: u32 = 1 << 4;

    pub(super) const NAME: &str = "masq";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let ours = raw.u32(sys::NFTNL_EXPR_MASQ_FLAGS) == Some(Self::FULLY_RANDOM)
            && raw.u32(sys::NFTNL_EXPR_MASQ_REG_PROTO_MIN).is_none();
        ours.then_some(Masquerade)
    }
}

impl Expression for Masquerade {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"masq").u32(sys::NFTNL_EXPR_MASQ_FLAGS, Self::FULLY_RANDOM).finish()
    }
}
