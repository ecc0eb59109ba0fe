//! `hash`: a number computed from a hash of loaded values.

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

use super::raw::{Builder, RawExpr};
use super::register::Register;

/// Hashes `len` bytes to a number from `offset` to `offset + modulus - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) from: Register,
    pub(crate) len: u32,
    pub(crate) modulus: u32,
    pub(crate) seed: u32,
    pub(crate) offset: u32,
    pub(crate) to: Register,
}

impl Hash {
    /// `NFT_HASH_JENKINS`.
    const JENKINS: u32 = 0;

    pub(super) const NAME: &str = "hash";

    /// Without a seed the kernel chooses one, which sluice never writes.
    pub(super) fn decode(raw: RawExpr<'_>) -> Option<Self> {
        (raw.u32(sys::NFTNL_EXPR_HASH_TYPE)? == Self::JENKINS).then_some(Hash {
            from: Register::of(raw.u32(sys::NFTNL_EXPR_HASH_SREG)?)?,
            len: raw.u32(sys::NFTNL_EXPR_HASH_LEN)?,
            modulus: raw.u32(sys::NFTNL_EXPR_HASH_MODULUS)?,
            seed: raw.u32(sys::NFTNL_EXPR_HASH_SEED)?,
            offset: raw.u32(sys::NFTNL_EXPR_HASH_OFFSET).unwrap_or(0),
            to: Register::of(raw.u32(sys::NFTNL_EXPR_HASH_DREG)?)?,
        })
    }
}

impl Expression for Hash {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        Builder::new(c"hash")
            .u32(sys::NFTNL_EXPR_HASH_SREG, self.from.number())
            .u32(sys::NFTNL_EXPR_HASH_LEN, self.len)
            .u32(sys::NFTNL_EXPR_HASH_DREG, self.to.number())
            .u32(sys::NFTNL_EXPR_HASH_MODULUS, self.modulus)
            .u32(sys::NFTNL_EXPR_HASH_SEED, self.seed)
            .u32(sys::NFTNL_EXPR_HASH_OFFSET, self.offset)
            .u32(sys::NFTNL_EXPR_HASH_TYPE, Self::JENKINS)
            .finish()
    }
}
