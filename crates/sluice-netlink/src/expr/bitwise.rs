//! `bitwise`: keeps some bits of a loaded value.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::RawExpr;
use super::register::Register;

/// Clears the bits of the word in the first register that are not in the mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitwise {
    /// In host order.
    pub(crate) mask: u32,
}

impl Bitwise {
    /// `NFT_BITWISE_BOOL`, or `NFT_BITWISE_MASK_XOR`: AND, then XOR.
    const MASK_XOR: u32 = 0;

    pub(super) const NAME: &str = "bitwise";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let first = |attribute| raw.u32(attribute).and_then(Register::of) == Some(Register::FIRST);
        let ours = first(sys::NFTNL_EXPR_BITWISE_SREG)
            && first(sys::NFTNL_EXPR_BITWISE_DREG)
            && raw.u32(sys::NFTNL_EXPR_BITWISE_OP).unwrap_or(Self::MASK_XOR) == Self::MASK_XOR
            && raw.u32(sys::NFTNL_EXPR_BITWISE_LEN)? == 4
            && raw.u32(sys::NFTNL_EXPR_BITWISE_XOR)? == 0;
        ours.then_some(Bitwise { mask: raw.u32(sys::NFTNL_EXPR_BITWISE_MASK)? })
    }
}

impl Expression for Bitwise {
    fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        nftnl::expr::Bitwise::new(self.mask, 0_u32).to_expr(rule)
    }
}
