//! `nat`: translates the destination.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use sluice_nft::Ip;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Translates the destination to a loaded address, and port if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dnat {
    pub(crate) ip: Ip,
    pub(crate) address: Register,
    pub(crate) port: Option<Register>,
}

impl Dnat {
    /// `NF_NAT_RANGE_MAP_IPS` and `NF_NAT_RANGE_PROTO_SPECIFIED`: the kernel derives them from the
    /// registers.
    const DERIVED_FLAGS: u32 = 1 | 2;
    const DNAT: u32 = sys::libc::NFT_NAT_DNAT as u32;

    pub(super) const NAME: &str = "nat";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let family = raw.u32(sys::NFTNL_EXPR_NAT_FAMILY)?;
        let flags = raw.u32(sys::NFTNL_EXPR_NAT_FLAGS).unwrap_or(0);
        if raw.u32(sys::NFTNL_EXPR_NAT_TYPE)? != Self::DNAT || flags & !Self::DERIVED_FLAGS != 0 {
            return None;
        }
        // The kernel prints the end of a range even when it is its start.
        let single = |min, max| {
            let register = raw.u32(min);
            raw.u32(max).is_none_or(|end| Some(end) == register).then_some(register)
        };
        let address = single(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, sys::NFTNL_EXPR_NAT_REG_ADDR_MAX)??;
        let port = single(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, sys::NFTNL_EXPR_NAT_REG_PROTO_MAX)?;
        Some(Dnat {
            ip: Ip::ALL.into_iter().find(|ip| u32::from(ip.nfproto()) == family)?,
            address: Register::of(address)?,
            port: match port {
                None => None,
                Some(port) => Some(Register::of(port)?),
            },
        })
    }
}

impl Expression for Dnat {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Builder::new(c"nat")
            .u32(sys::NFTNL_EXPR_NAT_TYPE, Self::DNAT)
            .u32(sys::NFTNL_EXPR_NAT_FAMILY, self.ip.nfproto().into())
            .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, self.address.number());
        match self.port {
            None => expr.finish(),
            Some(port) => expr.u32(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number()).finish(),
        }
    }
}
