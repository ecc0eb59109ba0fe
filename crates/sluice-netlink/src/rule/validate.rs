//! Validates messages with rules before libnftnl parses them.
//!
//! libnftnl does not check its input: it aborts the process if an attribute has an unexpected length, reads
//! beyond the end of a text without a terminating zero, and dereferences a null pointer for an expression without a name.

use nftnl::nftnl_sys::libc::{NFT_GOTO, NFT_JUMP};

use crate::attr::{Attribute, Attributes};
use crate::message;
use crate::uapi::{self, data};

/// Attributes of each expression, by their number from 1 (`linux/netfilter/nf_tables.h`), a letter each: numbers of 1
/// (`b`), 2 (`h`), 4 (`w`) and 8 bytes (`q`), text (`s`), data or a verdict (`d`), an expression (`x`), a list of
/// expressions (`l`), anything (`.`).
const EXPRESSIONS: [(&str, &str); 38] = [
    ("bitwise", "wwwddwd"),
    ("byteorder", "wwwww"),
    ("cmp", "wwd"),
    ("connlimit", "ww"),
    ("counter", "qq"),
    ("ct", "wwbw"),
    ("dup", "ww"),
    ("dynset", "swwwwqx.wl"),
    ("exthdr", "wbwwwww"),
    ("fib", "www"),
    ("flow_offload", "s"),
    ("fwd", "www"),
    ("hash", "wwwwwwwsw"),
    ("immediate", "wd"),
    ("last", "wq"),
    ("limit", "qqwww"),
    ("log", "hswhww"),
    ("lookup", "swwww"),
    ("masq", "www"),
    ("match", "sw."),
    ("meta", "www"),
    ("nat", "wwwwwww"),
    ("notrack", ""),
    ("numgen", "wwwwsw"),
    ("objref", "wswsw"),
    ("osf", "wbw"),
    ("payload", "wwwwwwww"),
    ("queue", "hhhw"),
    ("quota", "qw.q"),
    ("range", "wwdd"),
    ("redir", "www"),
    ("reject", "wb"),
    ("rt", "ww"),
    ("socket", "www"),
    ("synproxy", "hbw"),
    ("target", "sw."),
    ("tproxy", "www"),
    ("xfrm", "wwbw"),
];

const RULE: &str = "ssqlcq..www";
const COMPAT: &str = "ww";
const DATA: &str = ".v";
const VERDICT: &str = "wsw";

/// Whether libnftnl can parse this `NFT_MSG_NEWRULE`. `false` for expressions that are not in the list.
pub(super) fn is_valid(message: &[u8]) -> bool {
    fit(message::attributes(message), RULE)
}

fn fit(attributes: Attributes<'_>, letters: &str) -> bool {
    attributes.is_whole()
        && attributes.into_iter().all(|attribute| {
            let letter = usize::from(attribute.kind).checked_sub(1).and_then(|at| letters.as_bytes().get(at));
            fits(attribute, letter.copied().unwrap_or(b'.'))
        })
}

fn fits(attribute: Attribute<'_>, letter: u8) -> bool {
    let length = attribute.value.len();
    match letter {
        b'b' => length == 1,
        b'h' => length == 2,
        b'w' => length == 4,
        b'q' => length == 8,
        b's' => attribute.value.last() == Some(&0),
        b'd' => fit(attribute.nested(), DATA),
        b'v' => fit(attribute.nested(), VERDICT) && leads_somewhere(attribute.nested()),
        b'c' => fit(attribute.nested(), COMPAT),
        b'x' => is_expression(attribute.nested()),
        b'l' => attribute.nested().is_whole() && attribute.nested().map(Attribute::nested).all(is_expression),
        _ => true,
    }
}

/// Whether a verdict is complete, with the name of its chain if it needs one.
fn leads_somewhere(verdict: Attributes<'_>) -> bool {
    verdict.u32(data::VERDICT_CODE).is_some_and(|code| match code as i32 {
        NFT_JUMP | NFT_GOTO => verdict.text(data::VERDICT_CHAIN).is_some(),
        _ => true,
    })
}

fn is_expression(expression: Attributes<'_>) -> bool {
    let known = |name| EXPRESSIONS.iter().find(|(known, _)| *known == name);
    let Some((_, letters)) = expression.text(uapi::expr::NAME).and_then(known) else { return false };
    let each = |attribute: Attribute<'_>| match attribute.kind {
        uapi::expr::NAME => fits(attribute, b's'),
        _ => fit(attribute.nested(), letters),
    };
    // Of two attributes of one type libnftnl takes the last.
    let names = expression.filter(|attribute| attribute.kind == uapi::expr::NAME).count();
    names == 1 && expression.is_whole() && { expression }.all(each)
}

#[cfg(test)]
mod tests {
    use nftnl::nftnl_sys::libc::NFT_MSG_NEWRULE;

    use super::*;
    use crate::attr::Write;
    use crate::rule::decode;

    /// A rule with one expression, whose name and data these functions write.
    fn rule(name: impl Fn(&mut Vec<u8>), data: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut rule = message::start(NFT_MSG_NEWRULE, 0);
        rule.nest(uapi::rule::EXPRESSIONS, |list| {
            list.nest(uapi::LIST_ELEM, |expression| {
                name(expression);
                expression.nest(uapi::expr::DATA, |inside| data(inside));
            });
        });
        message::finish(rule)
    }

    fn named(name: &'static str) -> impl Fn(&mut Vec<u8>) {
        move |expression| expression.put_text(uapi::expr::NAME, name)
    }

    #[test]
    fn rule_that_libnftnl_cannot_be_given_is_foreign_by_the_names_of_its_expressions() {
        let jump = |verdict: &mut Vec<u8>| verdict.put_u32(data::VERDICT_CODE, NFT_JUMP as u32);
        let nowhere = |inside: &mut Vec<u8>| {
            inside.put_u32(1, 0);
            inside.nest(2, |held| held.nest(data::VERDICT, jump));
        };
        for (rule, shown) in [
            (rule(|_| {}, |_| {}), "[ ? ]"),
            (rule(|expression| expression.put(uapi::expr::NAME, b"counter"), |_| {}), "[ counter ]"),
            (rule(named("counter"), |inside| inside.put(1, &[0; 4])), "[ counter ]"),
            (rule(named("lookup"), |inside| inside.put(1, b"endless")), "[ lookup ]"),
            (rule(named("immediate"), nowhere), "[ immediate ]"),
            (rule(named("yet-to-come"), |_| {}), "[ yet-to-come ]"),
        ] {
            assert!(!is_valid(&rule), "{shown}");
            assert_eq!(decode(&rule).to_string(), shown);
        }
        let counter = rule(named("counter"), |inside| inside.put(1, &[0; 8]));
        assert!(is_valid(&counter));
        assert_eq!(decode(&counter).to_string(), "counter");
    }
}
