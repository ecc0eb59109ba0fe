//! `bitwise`: masks a loaded value.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Masks a loaded value with a mask of the same length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bitwise {
    pub(crate) at: Register,
    pub(crate) mask: Vec<u8>,
}

impl Bitwise {
    /// `NFT_BITWISE_BOOL`, or `NFT_BITWISE_MASK_XOR`: AND, then XOR.
    const MASK_XOR: u32 = 0;

    pub(super) const NAME: &str = "bitwise";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let register = |attribute| raw.u32(attribute).and_then(Register::of);
        let at = register(sys::NFTNL_EXPR_BITWISE_SREG)?;
        let mask = raw.bytes(sys::NFTNL_EXPR_BITWISE_MASK)?;
        let ours = register(sys::NFTNL_EXPR_BITWISE_DREG) == Some(at)
            && raw.u32(sys::NFTNL_EXPR_BITWISE_OP).unwrap_or(Self::MASK_XOR) == Self::MASK_XOR
            && raw.u32(sys::NFTNL_EXPR_BITWISE_LEN)? as usize == mask.len()
            && raw.bytes(sys::NFTNL_EXPR_BITWISE_XOR)?.iter().all(|byte| *byte == 0);
        ours.then(|| Bitwise { at, mask: mask.to_vec() })
    }
}

impl Expression for Bitwise {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"bitwise")
            .u32(sys::NFTNL_EXPR_BITWISE_SREG, self.at.number())
            .u32(sys::NFTNL_EXPR_BITWISE_DREG, self.at.number())
            .u32(sys::NFTNL_EXPR_BITWISE_LEN, self.mask.len() as u32)
            .bytes(sys::NFTNL_EXPR_BITWISE_MASK, &self.mask)
            .bytes(sys::NFTNL_EXPR_BITWISE_XOR, &vec![0; self.mask.len()])
            .finish()
    }
}
