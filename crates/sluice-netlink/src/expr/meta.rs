//! `meta`: metadata of a packet.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Loads metadata of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// `NFT_META_*`.
    pub(crate) key: u32,
    pub(crate) to: Register,
}

impl Meta {
    pub(crate) const IIFNAME: u32 = sys::libc::NFT_META_IIFNAME as u32;
    pub(crate) const OIFNAME: u32 = sys::libc::NFT_META_OIFNAME as u32;
    pub(crate) const NFPROTO: u32 = sys::libc::NFT_META_NFPROTO as u32;
    pub(crate) const L4PROTO: u32 = sys::libc::NFT_META_L4PROTO as u32;

    pub(super) const NAME: &str = "meta";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        Some(Meta {
            key: raw.u32(sys::NFTNL_EXPR_META_KEY)?,
            to: Register::of(raw.u32(sys::NFTNL_EXPR_META_DREG)?)?,
        })
    }
}

impl Expression for Meta {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"meta")
            .u32(sys::NFTNL_EXPR_META_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_META_KEY, self.key)
            .finish()
    }
}
