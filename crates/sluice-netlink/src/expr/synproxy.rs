//! `synproxy`: answers a SYN with a cookie.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};

/// Without timestamps, and so without window scaling and selective acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synproxy {
    pub(crate) mss: u16,
}

impl Synproxy {
    /// `NF_SYNPROXY_OPT_MSS | NF_SYNPROXY_OPT_WSCALE`: the flags that nft writes for `mss N wscale 0`.
    const FLAGS: u32 = 0b11;

    pub(super) const NAME: &str = "synproxy";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let ours = raw.u32(sys::NFTNL_EXPR_SYNPROXY_FLAGS) == Some(Self::FLAGS)
            && raw.u8(sys::NFTNL_EXPR_SYNPROXY_WSCALE) == Some(0);
        let mss = raw.bytes(sys::NFTNL_EXPR_SYNPROXY_MSS)?.try_into().map(u16::from_ne_bytes).ok()?;
        ours.then_some(Synproxy { mss })
    }
}

impl Expression for Synproxy {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"synproxy")
            .bytes(sys::NFTNL_EXPR_SYNPROXY_MSS, &self.mss.to_ne_bytes())
            .u8(sys::NFTNL_EXPR_SYNPROXY_WSCALE, 0)
            .u32(sys::NFTNL_EXPR_SYNPROXY_FLAGS, Self::FLAGS)
            .finish()
    }
}
