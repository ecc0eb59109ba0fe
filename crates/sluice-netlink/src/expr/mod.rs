//! Expressions of the kernel: one struct each, with encoding and decoding side by side.

mod bitwise;
mod cmp;
mod counter;
mod ct;
mod dynset;
mod fib;
mod hash;
mod immediate;
mod lookup;
mod masquerade;
mod meta;
mod nat;
mod notrack;
mod numgen;
mod payload;
mod raw;
mod register;
mod reject;
mod synproxy;
mod verdict;

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

pub(crate) use bitwise::Bitwise;
pub(crate) use cmp::{Cmp, CmpOp};
pub(crate) use counter::Counter;
pub(crate) use ct::Ct;
pub(crate) use dynset::{Attached, Dynset};
pub(crate) use fib::Fib;
pub(crate) use hash::Hash;
pub(crate) use immediate::Immediate;
pub(crate) use lookup::{Lookup, LookupTo};
pub(crate) use masquerade::Masquerade;
pub(crate) use meta::Meta;
pub(crate) use nat::{Nat, Translation};
pub(crate) use notrack::Notrack;
pub(crate) use numgen::Numgen;
pub(crate) use payload::{Base, Payload};
pub(crate) use raw::RawExpr;
pub(crate) use register::{Register, words};
pub(crate) use reject::Reject;
pub(crate) use synproxy::Synproxy;
pub(crate) use verdict::Verdict;

macro_rules! expressions {
    ($($name:ident,)*) => {
        /// An expression that sluice writes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Expr {
            $($name($name),)*
        }

        impl Expr {
            /// Decodes an expression; `None` if sluice never writes it.
            pub(crate) fn decode(raw: RawExpr<'_>) -> Option<Expr> {
                let name = raw.name();
                // Verdicts and constants have the same name.
                $(if name == $name::NAME && let Some(expr) = $name::decode(raw) {
                    return Some(Expr::$name(expr));
                })*
                None
            }
        }

        impl Expression for Expr {
            fn to_expr(&self, rule: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
                match self {
                    $(Expr::$name(expr) => expr.to_expr(rule),)*
                }
            }
        }

        $(impl From<$name> for Expr {
            fn from(expr: $name) -> Self {
                Expr::$name(expr)
            }
        })*
    };
}

expressions! {
    Bitwise,
    Cmp,
    Counter,
    Ct,
    Dynset,
    Fib,
    Hash,
    Immediate,
    Lookup,
    Masquerade,
    Meta,
    Nat,
    Notrack,
    Numgen,
    Payload,
    Reject,
    Synproxy,
    Verdict,
}
