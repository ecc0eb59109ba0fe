//! `reject`: answers, and drops the packet.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use nftnl::expr::{IcmpCode, RejectionType};

use super::raw::RawExpr;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// A TCP reset.
    Reset,
    /// ICMP or ICMPv6 port unreachable.
    Port,
}

impl Reject {
    const RESET: u32 = sys::libc::NFT_REJECT_TCP_RST as u32;
    const ICMPX: u32 = sys::libc::NFT_REJECT_ICMPX_UNREACH as u32;
    const PORT: u8 = sys::libc::NFT_REJECT_ICMPX_PORT_UNREACH as u8;

    pub(super) const NAME: &str = "reject";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        match (raw.u32(sys::NFTNL_EXPR_REJECT_TYPE)?, raw.u8(sys::NFTNL_EXPR_REJECT_CODE)) {
            (Self::RESET, _) => Some(Reject::Reset),
            (Self::ICMPX, Some(Self::PORT)) => Some(Reject::Port),
            _ => None,
        }
    }
}

impl Expression for Reject {
    fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let answer = match self {
            Reject::Reset => RejectionType::TcpRst,
            Reject::Port => RejectionType::Icmp(IcmpCode::PortUnreach),
        };
        nftnl::expr::Verdict::Reject(answer).to_expr(rule)
    }
}
