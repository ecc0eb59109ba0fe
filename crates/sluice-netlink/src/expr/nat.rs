//! `nat`: translates destination or source.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use sluice_nft::{Ip, SourcePorts};

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Translates an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nat {
    pub(crate) ip: Ip,
    pub(crate) what: Translation,
}

/// The direction and the new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    /// The destination to a loaded address, and optionally a port.
    Destination { address: Register, port: Option<Register> },
    /// The source to a loaded address and port.
    SourceTo { address: Register, port: Register },
    /// The source to one of a range of addresses.
    Source { first: Register, last: Register, ports: SourcePorts },
}

impl Nat {
    /// `NF_NAT_RANGE_MAP_IPS` and `NF_NAT_RANGE_PROTO_SPECIFIED`: the kernel derives them from the
    /// registers.
    const DERIVED_FLAGS: u32 = 1 | 2;
    /// `NF_NAT_RANGE_PERSISTENT`: a client has the same address of the range for all destinations.
    const PERSISTENT: u32 = 1 << 3;
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
    const FULLY_RANDOM: u32 = 1 << 4;
    const SNAT: u32 = sys::libc::NFT_NAT_SNAT as u32;
    const DNAT: u32 = sys::libc::NFT_NAT_DNAT as u32;

    pub(super) const NAME: &str = "nat";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let register = |attribute| raw.u32(attribute).map(Register::of);
        let family = raw.u32(sys::NFTNL_EXPR_NAT_FAMILY)?;
        let flags = raw.u32(sys::NFTNL_EXPR_NAT_FLAGS).unwrap_or(0) & !Self::DERIVED_FLAGS;
        let first = register(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN)??;
        // The kernel dumps the end of a range even if it equals the start.
        let last = register(sys::NFTNL_EXPR_NAT_REG_ADDR_MAX).unwrap_or(Some(first))?;
        let port = register(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN);
        let one_port = register(sys::NFTNL_EXPR_NAT_REG_PROTO_MAX).is_none_or(|last| Some(last) == port);
        let what = match (raw.u32(sys::NFTNL_EXPR_NAT_TYPE)?, flags) {
            (Self::DNAT, 0) if first == last && one_port => Translation::Destination {
                address: first,
                port: port.map_or(Some(None), |port| port.map(Some))?,
            },
            (Self::SNAT, 0) if first == last && one_port && port.is_some() => {
                Translation::SourceTo { address: first, port: port?? }
            }
            (Self::SNAT, flags) if port.is_none() => {
                let is_of = |ports: &SourcePorts| Self::flags(*ports) == flags;
                let ports = [SourcePorts::Random, SourcePorts::Keep].into_iter().find(is_of)?;
                Translation::Source { first, last, ports }
            }
            _ => return None,
        };
        Some(Nat { ip: Ip::ALL.into_iter().find(|ip| u32::from(ip.nfproto()) == family)?, what })
    }

    fn flags(ports: SourcePorts) -> u32 {
        match ports {
            SourcePorts::Random => Self::FULLY_RANDOM,
            SourcePorts::Keep => Self::PERSISTENT,
        }
    }
}

impl Expression for Nat {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expr = Builder::new(c"nat").u32(sys::NFTNL_EXPR_NAT_FAMILY, self.ip.nfproto().into());
        match self.what {
            Translation::Destination { address, port } => {
                let expr = expr
                    .u32(sys::NFTNL_EXPR_NAT_TYPE, Self::DNAT)
                    .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, address.number());
                match port {
                    None => expr,
                    Some(port) => expr.u32(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number()),
                }
            }
            Translation::SourceTo { address, port } => expr
                .u32(sys::NFTNL_EXPR_NAT_TYPE, Self::SNAT)
                .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, address.number())
                .u32(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number()),
            Translation::Source { first, last, ports } => expr
                .u32(sys::NFTNL_EXPR_NAT_TYPE, Self::SNAT)
                .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, first.number())
                .u32(sys::NFTNL_EXPR_NAT_REG_ADDR_MAX, last.number())
                .u32(sys::NFTNL_EXPR_NAT_FLAGS, Self::flags(ports)),
        }
        .finish()
    }
}
