//! `dynset`: adds a key to a set as packets pass.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;
use sluice_nft::Rate;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Adds a key to a set; continues if this succeeds and the attached expression permits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dynset {
    pub(crate) set: String,
    pub(crate) key: Register,
    pub(crate) attached: Attached,
}

/// Expression or data of the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// A token bucket; continues above the rate. Restarts the element's timeout.
    LimitOver(Rate),
    /// A count of live connections; continues above the number.
    CtCountOver(u32),
    /// The data in these registers, with a timeout in milliseconds.
    Data(Register, u64),
}

impl Dynset {
    /// `NFT_DYNSET_OP_ADD` and `NFT_DYNSET_OP_UPDATE`.
    const ADD: u32 = 0;
    const UPDATE: u32 = 1;

    pub(super) const NAME: &str = "dynset";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let timeout = raw.u64(sys::NFTNL_EXPR_DYNSET_TIMEOUT).unwrap_or(0);
        let data = raw.u32(sys::NFTNL_EXPR_DYNSET_SREG_DATA);
        let attached = match (raw.u32(sys::NFTNL_EXPR_DYNSET_OP)?, data, raw.inner()) {
            (Self::UPDATE, Some(data), None) => Attached::Data(Register::of(data)?, timeout),
            (Self::UPDATE, None, Some(kept)) if timeout == 0 => Attached::LimitOver(limit::decode(kept)?),
            (Self::ADD, None, Some(kept)) if timeout == 0 => Attached::CtCountOver(connlimit::decode(kept)?),
            _ => return None,
        };
        Some(Dynset {
            set: raw.text(sys::NFTNL_EXPR_DYNSET_SET_NAME)?.to_owned(),
            key: Register::of(raw.u32(sys::NFTNL_EXPR_DYNSET_SREG_KEY)?)?,
            attached,
        })
    }
}

impl Expression for Dynset {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let op = if matches!(self.attached, Attached::CtCountOver(_)) { Self::ADD } else { Self::UPDATE };
        let expr = Builder::new(c"dynset")
            .u32(sys::NFTNL_EXPR_DYNSET_SREG_KEY, self.key.number())
            .text(sys::NFTNL_EXPR_DYNSET_SET_NAME, &self.set)
            .u32(sys::NFTNL_EXPR_DYNSET_OP, op);
        match self.attached {
            Attached::LimitOver(rate) => expr.inner(limit::encode(rate)),
            Attached::CtCountOver(count) => expr.inner(connlimit::encode(count)),
            Attached::Data(data, timeout) => expr
                .u32(sys::NFTNL_EXPR_DYNSET_SREG_DATA, data.number())
                .u64(sys::NFTNL_EXPR_DYNSET_TIMEOUT, timeout),
        }
        .finish()
    }
}

/// `limit`, above a rate of packets.
mod limit {
    use super::*;

    /// `NFT_LIMIT_PKTS` and `NFT_LIMIT_F_INV`.
    const PACKETS: u32 = 0;
    const ABOVE: u32 = 1;

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Rate> {
        let ours = raw.name() == "limit"
            && raw.u32(sys::NFTNL_EXPR_LIMIT_TYPE)? == PACKETS
            && raw.u32(sys::NFTNL_EXPR_LIMIT_FLAGS)? == ABOVE;
        ours.then_some(Rate {
            packets: raw.u64(sys::NFTNL_EXPR_LIMIT_RATE)?.try_into().ok()?,
            unit: raw.u64(sys::NFTNL_EXPR_LIMIT_UNIT)?.try_into().ok()?,
            burst: raw.u32(sys::NFTNL_EXPR_LIMIT_BURST)?,
        })
    }

    pub(super) fn encode(Rate { packets, unit, burst }: Rate) -> Builder {
        Builder::new(c"limit")
            .u64(sys::NFTNL_EXPR_LIMIT_RATE, packets.into())
            .u64(sys::NFTNL_EXPR_LIMIT_UNIT, unit.into())
            .u32(sys::NFTNL_EXPR_LIMIT_BURST, burst)
            .u32(sys::NFTNL_EXPR_LIMIT_TYPE, PACKETS)
            .u32(sys::NFTNL_EXPR_LIMIT_FLAGS, ABOVE)
    }
}

/// `connlimit`, above a number of connections.
mod connlimit {
    use super::*;

    /// `NFT_CONNLIMIT_F_INV`.
    const ABOVE: u32 = 1;

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<u32> {
        let ours = raw.name() == "connlimit" && raw.u32(sys::NFTNL_EXPR_CONNLIMIT_FLAGS)? == ABOVE;
        ours.then_some(raw.u32(sys::NFTNL_EXPR_CONNLIMIT_COUNT)?)
    }

    pub(super) fn encode(count: u32) -> Builder {
        Builder::new(c"connlimit")
            .u32(sys::NFTNL_EXPR_CONNLIMIT_COUNT, count)
            .u32(sys::NFTNL_EXPR_CONNLIMIT_FLAGS, ABOVE)
    }
}
