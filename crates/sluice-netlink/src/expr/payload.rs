//! `payload`: bytes of a header.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Network,
    Transport,
}

/// Loads bytes of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) base: Base,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) to: Register,
}

impl Base {
    const ALL: [Base; 2] = [Base::Network, Base::Transport];

    fn number(self) -> u32 {
        (match self {
            Base::Network => sys::libc::NFT_PAYLOAD_NETWORK_HEADER,
            Base::Transport => sys::libc::NFT_PAYLOAD_TRANSPORT_HEADER,
        }) as u32
    }
}

impl Payload {
    pub(super) const NAME: &str = "payload";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let base = raw.u32(sys::NFTNL_EXPR_PAYLOAD_BASE)?;
        Some(Payload {
            base: Base::ALL.into_iter().find(|known| known.number() == base)?,
            offset: raw.u32(sys::NFTNL_EXPR_PAYLOAD_OFFSET)?,
            len: raw.u32(sys::NFTNL_EXPR_PAYLOAD_LEN)?,
            to: Register::of(raw.u32(sys::NFTNL_EXPR_PAYLOAD_DREG)?)?,
        })
    }
}

impl Expression for Payload {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"payload")
            .u32(sys::NFTNL_EXPR_PAYLOAD_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_PAYLOAD_BASE, self.base.number())
            .u32(sys::NFTNL_EXPR_PAYLOAD_OFFSET, self.offset)
            .u32(sys::NFTNL_EXPR_PAYLOAD_LEN, self.len)
            .finish()
    }
}
