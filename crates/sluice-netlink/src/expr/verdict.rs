//! `immediate` into the verdict register: a verdict on the packet.

use std::ffi::CString;
use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::RawExpr;

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Goto(String),
    Jump(String),
}

impl Verdict {
    pub(super) const NAME: &str = "immediate";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let chain = || Some(raw.text(sys::NFTNL_EXPR_IMM_CHAIN)?.to_owned());
        match raw.u32(sys::NFTNL_EXPR_IMM_VERDICT)? as i32 {
            sys::libc::NF_ACCEPT => Some(Verdict::Accept),
            sys::libc::NF_DROP => Some(Verdict::Drop),
            sys::libc::NFT_GOTO => Some(Verdict::Goto(chain()?)),
            sys::libc::NFT_JUMP => Some(Verdict::Jump(chain()?)),
            _ => None,
        }
    }
}

impl Expression for Verdict {
    fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let chain = |name: &str| CString::new(name).unwrap_or_default();
        match self {
            Verdict::Accept => nftnl::expr::Verdict::Accept,
            Verdict::Drop => nftnl::expr::Verdict::Drop,
            Verdict::Goto(name) => nftnl::expr::Verdict::Goto { chain: chain(name) },
            Verdict::Jump(name) => nftnl::expr::Verdict::Jump { chain: chain(name) },
        }
        .to_expr(rule)
    }
}
