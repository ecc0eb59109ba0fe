//! `ct`: properties of the packet's connection.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Loads a property of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ct {
    /// `NFT_CT_*`.
    pub(crate) key: u32,
    /// Whether the property is that of the original direction; other properties have no direction.
    pub(crate) original: bool,
    pub(crate) to: Register,
}

impl Ct {
    pub(crate) const STATE: u32 = sys::libc::NFT_CT_STATE as u32;
    pub(crate) const STATUS: u32 = sys::libc::NFT_CT_STATUS as u32;
    pub(crate) const DADDR4: u32 = sys::libc::NFT_CT_DST_IP as u32;
    pub(crate) const DADDR6: u32 = sys::libc::NFT_CT_DST_IP6 as u32;
    pub(crate) const DPORT: u32 = sys::libc::NFT_CT_PROTO_DST as u32;

    pub(super) const NAME: &str = "ct";

    const ORIGINAL: u8 = 0;

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let original = match raw.u8(sys::NFTNL_EXPR_CT_DIR) {
            None => false,
            Some(Self::ORIGINAL) => true,
            Some(_) => return None,
        };
        Some(Ct {
            key: raw.u32(sys::NFTNL_EXPR_CT_KEY)?,
            original,
            to: Register::of(raw.u32(sys::NFTNL_EXPR_CT_DREG)?)?,
        })
    }
}

impl Expression for Ct {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Builder::new(c"ct")
            .u32(sys::NFTNL_EXPR_CT_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_CT_KEY, self.key);
        if self.original { expr.u8(sys::NFTNL_EXPR_CT_DIR, Self::ORIGINAL).finish() } else { expr.finish() }
    }
}
