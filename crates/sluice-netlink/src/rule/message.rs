//! Rules in messages of the kernel, parsed by libnftnl.

use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;
use sluice_nft::{Rule, Statement};

use super::decode::statements;
use super::validate::is_valid;
use crate::attr::Attributes;
use crate::expr::RawExpr;
use crate::message;
use crate::uapi;

/// The rule in an `NFT_MSG_NEWRULE` message.
pub(crate) fn decode(message: &[u8]) -> Rule {
    match Parsed::new(message) {
        Some(parsed) => Rule(statements(parsed.expressions())),
        // libnftnl rejects a rule that has an expression newer than libnftnl.
        None => Rule(vec![Statement::Foreign(names(message))]),
    }
}

/// The names of the expressions, as `[ limit ] [ log ]`.
fn names(message: &[u8]) -> String {
    let list = message::attributes(message).nested(uapi::rule::EXPRESSIONS).unwrap_or(Attributes::new(&[]));
    let names = list.map(|item| format!("[ {} ]", item.nested().text(uapi::expr::NAME).unwrap_or("?")));
    names.collect::<Vec<_>>().join(" ")
}

/// A rule of libnftnl.
struct Parsed(NonNull<sys::nftnl_rule>);

impl Parsed {
    fn new(message: &[u8]) -> Option<Self> {
        if message::length(message) != Some(message.len()) || !is_valid(message) {
            return None;
        }
        // Aligned, and followed by zeros: libnftnl reads texts up to the terminating zero, not by their length.
        let mut copy = vec![0_u64; message.len().div_ceil(8) + 1];
        let (words, rest) = message.as_chunks::<8>();
        copy.iter_mut().zip(words).for_each(|(copy, word)| *copy = u64::from_ne_bytes(*word));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        copy[words.len()] = u64::from_ne_bytes(last);
        // SAFETY: takes no argument, returns null or a new rule.
        let rule = Parsed(NonNull::new(unsafe { sys::nftnl_rule_alloc() })?);
        // SAFETY: the message is aligned and as long as its header says, which was checked above, and
        // libnftnl copies what it keeps.
        let parsed = unsafe { sys::nftnl_rule_nlmsg_parse(copy.as_ptr().cast(), rule.0.as_ptr()) };
        (parsed == 0).then_some(rule)
    }

    fn expressions(&self) -> Expressions<'_> {
        // SAFETY: the rule is valid while `self` is.
        let iter = unsafe { sys::nftnl_expr_iter_create(self.0.as_ptr()) };
        Expressions { iter: NonNull::new(iter), _rule: self }
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        // SAFETY: the rule is ours, and `Expressions` cannot outlive it.
        unsafe { sys::nftnl_rule_free(self.0.as_ptr()) };
    }
}

/// Expressions of a rule, in order.
struct Expressions<'a> {
    iter: Option<NonNull<sys::nftnl_expr_iter>>,
    _rule: &'a Parsed,
}

impl<'a> Iterator for Expressions<'a> {
    type Item = RawExpr<'a>;

    fn next(&mut self) -> Option<RawExpr<'a>> {
        // SAFETY: the iterator is ours, of a rule that lives and stays unchanged for `'a`; so do
        // the expressions it returns.
        unsafe { NonNull::new(sys::nftnl_expr_iter_next(self.iter?.as_ptr())).map(|expr| RawExpr::new(expr)) }
    }
}

impl Drop for Expressions<'_> {
    fn drop(&mut self) {
        if let Some(iter) = self.iter {
            // SAFETY: the iterator is ours and not used again.
            unsafe { sys::nftnl_expr_iter_destroy(iter.as_ptr()) };
        }
    }
}
