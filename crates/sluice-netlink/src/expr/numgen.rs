//! `numgen`: a number from a counter in the rule, or a random number.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Generates a number from `offset` to `offset + modulus - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numgen {
    pub(crate) random: bool,
    pub(crate) modulus: u32,
    pub(crate) offset: u32,
    pub(crate) to: Register,
}

impl Numgen {
    /// `NFT_NG_INCREMENTAL`.
    pub(crate) const INCREMENTAL: u32 = 0;
    /// `NFT_NG_RANDOM`.
    pub(crate) const RANDOM: u32 = 1;

    pub(super) const NAME: &str = "numgen";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        Some(Numgen {
            random: match raw.u32(sys::NFTNL_EXPR_NG_TYPE)? {
                Self::INCREMENTAL => false,
                Self::RANDOM => true,
                _ => return None,
            },
            modulus: raw.u32(sys::NFTNL_EXPR_NG_MODULUS)?,
            offset: raw.u32(sys::NFTNL_EXPR_NG_OFFSET)?,
            to: Register::of(raw.u32(sys::NFTNL_EXPR_NG_DREG)?)?,
        })
    }
}

impl Expression for Numgen {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"numgen")
            .u32(sys::NFTNL_EXPR_NG_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_NG_TYPE, if self.random { Self::RANDOM } else { Self::INCREMENTAL })
            .u32(sys::NFTNL_EXPR_NG_MODULUS, self.modulus)
            .u32(sys::NFTNL_EXPR_NG_OFFSET, self.offset)
            .finish()
    }
}
