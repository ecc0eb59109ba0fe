//! Expressions: what the kernel runs. A struct each, encode and decode side by side.

mod bitwise;
mod cmp;
mod counter;
mod ct;
mod fib;
mod hash;
mod lookup;
mod masquerade;
mod meta;
mod nat;
mod numgen;
mod payload;
mod raw;
mod register;
mod reject;
mod verdict;

use std::ptr::NonNull;

use nftnl::expr::Expression;
use nftnl::nftnl_sys as sys;

pub(crate) use bitwise::Bitwise;
pub(crate) use cmp::{Cmp, CmpOp};
pub(crate) use counter::Counter;
pub(crate) use ct::Ct;
pub(crate) use fib::Fib;
pub(crate) use hash::Hash;
pub(crate) use lookup::{Found, Lookup};
pub(crate) use masquerade::Masquerade;
pub(crate) use meta::Meta;
pub(crate) use nat::Dnat;
pub(crate) use numgen::Numgen;
pub(crate) use payload::{Base, Payload};
pub(crate) use raw::RawExpr;
pub(crate) use register::{Register, words};
pub(crate) use reject::Reject;
pub(crate) use verdict::Verdict;

macro_rules! expressions {
    ($($name:ident,)*) => {
        /// Any expression that sluice writes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Expr {
            $($name($name),)*
        }

        impl Expr {
            /// Reads an expression; `None` if sluice never writes the like.
            pub(crate) fn decode(raw: RawExpr<'_>) -> Option<Expr> {
                let name = raw.name();
                match () {
                    $(() if name == $name::NAME => $name::decode(raw).map(Expr::$name),)*
                    () => None,
                }
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
    Dnat,
    Fib,
    Hash,
    Lookup,
    Masquerade,
    Meta,
    Numgen,
    Payload,
    Reject,
    Verdict,
}
