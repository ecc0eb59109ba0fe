//! `cmp`: compares a loaded value with a constant.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::RawExpr;
use super::register::Register;

/// The operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CmpOp {
    Eq,
    Neq,
    Gte,
    Lte,
}

/// Continues if the comparison is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cmp {
    pub(crate) op: CmpOp,
    pub(crate) data: Vec<u8>,
}

impl CmpOp {
    const ALL: [CmpOp; 4] = [CmpOp::Eq, CmpOp::Neq, CmpOp::Gte, CmpOp::Lte];

    fn nftnl(self) -> nftnl::expr::CmpOp {
        match self {
            CmpOp::Eq => nftnl::expr::CmpOp::Eq,
            CmpOp::Neq => nftnl::expr::CmpOp::Neq,
            CmpOp::Gte => nftnl::expr::CmpOp::Gte,
            CmpOp::Lte => nftnl::expr::CmpOp::Lte,
        }
    }
}

impl Cmp {
    pub(super) const NAME: &str = "cmp";

    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        let op = raw.u32(sys::NFTNL_EXPR_CMP_OP)?;
        let from = Register::of(raw.u32(sys::NFTNL_EXPR_CMP_SREG)?)?;
        (from == Register::FIRST).then_some(Cmp {
            op: CmpOp::ALL.into_iter().find(|known| known.nftnl().to_raw() == op)?,
            data: raw.bytes(sys::NFTNL_EXPR_CMP_DATA)?.to_vec(),
        })
    }
}

impl Expression for Cmp {
    fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        nftnl::expr::Cmp::new(self.op.nftnl(), self.data.as_slice()).to_expr(rule)
    }
}
