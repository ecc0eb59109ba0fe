//! `fib`: a lookup of an address in the routing table.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Loads the type of an address: local, broadcast and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fib {
    /// [`Fib::SADDR`] or [`Fib::DADDR`].
    pub(crate) of: u32,
    pub(crate) to: Register,
}

impl Fib {
    /// `NFT_FIB_RESULT_ADDRTYPE`.
    pub(crate) const ADDRESS_TYPE: u32 = 3;
    /// `NFTA_FIB_F_SADDR`.
    pub(crate) const SADDR: u32 = 1;
    /// `NFTA_FIB_F_DADDR`.
    pub(crate) const DADDR: u32 = 2;

    pub(super) const NAME: &str = "fib";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let of = raw.u32(sys::NFTNL_EXPR_FIB_FLAGS)?;
        let ours = raw.u32(sys::NFTNL_EXPR_FIB_RESULT)? == Self::ADDRESS_TYPE
            && [Self::SADDR, Self::DADDR].contains(&of);
        ours.then_some(Fib { of, to: Register::of(raw.u32(sys::NFTNL_EXPR_FIB_DREG)?)? })
    }
}

impl Expression for Fib {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"fib")
            .u32(sys::NFTNL_EXPR_FIB_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_FIB_RESULT, Self::ADDRESS_TYPE)
            .u32(sys::NFTNL_EXPR_FIB_FLAGS, self.of)
            .finish()
    }
}
