//! `immediate`: loads a constant.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Loads a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Immediate {
    pub(crate) data: Vec<u8>,
    pub(crate) to: Register,
}

impl Immediate {
    pub(super) const NAME: &str = "immediate";

    /// `None` if it is a verdict.
    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        Some(Immediate {
            data: raw.bytes(sys::NFTNL_EXPR_IMM_DATA)?.to_vec(),
            to: Register::of(raw.u32(sys::NFTNL_EXPR_IMM_DREG)?)?,
        })
    }
}

impl Expression for Immediate {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"immediate")
            .u32(sys::NFTNL_EXPR_IMM_DREG, self.to.number())
            .bytes(sys::NFTNL_EXPR_IMM_DATA, &self.data)
            .finish()
    }
}
