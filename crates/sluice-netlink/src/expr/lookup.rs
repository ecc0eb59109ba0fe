//! `lookup`: looks up a key in a set or map.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Looks up a key; continues if it exists or, inverted, if it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) set: String,
    pub(crate) from: Register,
    pub(crate) to: LookupTo,
    /// Whether it continues if the key does not exist.
    pub(crate) inverted: bool,
}

/// The destination of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupTo {
    /// No data: a plain set.
    Nothing,
    /// A verdict, which is applied.
    Verdict,
    /// A value, which goes to this register.
    Value(Register),
}

impl Lookup {
    const VERDICT: u32 = sys::libc::NFT_REG_VERDICT as u32;
    const INVERTED: u32 = sys::libc::NFT_LOOKUP_F_INV as u32;

    pub(super) const NAME: &str = "lookup";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        Some(Lookup {
            inverted: raw.u32(sys::NFTNL_EXPR_LOOKUP_FLAGS).unwrap_or(0) == Self::INVERTED,
            set: raw.text(sys::NFTNL_EXPR_LOOKUP_SET)?.to_owned(),
            from: Register::of(raw.u32(sys::NFTNL_EXPR_LOOKUP_SREG)?)?,
            to: match raw.u32(sys::NFTNL_EXPR_LOOKUP_DREG) {
                None => LookupTo::Nothing,
                Some(Self::VERDICT) => LookupTo::Verdict,
                Some(register) => LookupTo::Value(Register::of(register)?),
            },
        })
    }
}

impl Expression for Lookup {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Builder::new(c"lookup")
            .u32(sys::NFTNL_EXPR_LOOKUP_SREG, self.from.number())
            .text(sys::NFTNL_EXPR_LOOKUP_SET, &self.set);
        let expr = if self.inverted { expr.u32(sys::NFTNL_EXPR_LOOKUP_FLAGS, Self::INVERTED) } else { expr };
        match self.to {
            LookupTo::Nothing => expr.finish(),
            LookupTo::Verdict => expr.u32(sys::NFTNL_EXPR_LOOKUP_DREG, Self::VERDICT).finish(),
            LookupTo::Value(to) => expr.u32(sys::NFTNL_EXPR_LOOKUP_DREG, to.number()).finish(),
        }
    }
}
